/* Takes a panic from where it is thrown to where it is caught: the part of gcc's unwinder that
 * this program needs, for frames that are all alike. frames.awk writes the tables that it reads,
 * says what is in them, and stops the link at a function that they cannot describe.
 *
 * The functions that the program's own code is not in have no description: C's never call it in a
 * way that a panic passes. Where the walk meets one, or a function that the compiler holds to be
 * unable to panic, it ends, and std ends the process with a message. */
#include <stdint.h>
#include <stdlib.h>

/* The registers that a function gives back as they were, and where it goes on. The first seven
 * are in the order in which the entry points below push them. */
struct frame {
  uint64_t rbx, rbp, r12, r13, r14, r15;
  const char *at;
  uint64_t rsp;
};

/* The bits of a description, above the distance to its function. */
enum { R15 = 1, R14 = 2, R13 = 4, R12 = 8, RBX = 16, LANDING = 32 };
enum { DISTANCE_BITS = 25 };

/* In section `frames`, made by the linker of the object's parts: sorted by function. */
extern const uint32_t __start_frames[], __stop_frames[] __attribute__((visibility("hidden")));

/* Nothing here is aligned. */
typedef uint16_t __attribute__((aligned(1), may_alias)) length;

static uint64_t length_of(const char *function) { return ((const length *)function)[-1]; }

static const char *function_of(const uint32_t *entry) {
  return (const char *)entry + (*entry & ((1u << DISTANCE_BITS) - 1));
}

/* The description of the function that the call before `at` is in, or 0. */
static const uint32_t *describe(const char *at) {
  const uint32_t *low = __start_frames, *high = __stop_frames;
  while (high - low > 1) {
    const uint32_t *middle = low + (high - low) / 2;
    if (function_of(middle) < at) low = middle; else high = middle;
  }
  const char *function = function_of(low);
  return function < at && at <= function + length_of(function) ? low : 0;
}

static uint64_t read_number(const uint8_t **from) {
  uint64_t number = 0;
  int shift = 0;
  uint8_t byte;
  do {
    byte = *(*from)++;
    number |= (uint64_t)(byte & 127) << shift;
    shift += 7;
  } while (byte & 128);
  return number;
}

enum landing { PASSES, CLEANS_UP, CATCHES, CANNOT_PANIC };

/* What happens to a panic out of the call before frame->at, and where. */
static enum landing land(const struct frame *frame, uint32_t entry, const char *function,
                         const char **pad) {
  if (!(entry >> DISTANCE_BITS & LANDING)) return PASSES;
  const uint8_t *sites = (const uint8_t *)function + length_of(function);
  const char *end = function;
  for (uint64_t left = read_number(&sites); left; left--) {
    const char *begin = end + read_number(&sites);
    end = begin + read_number(&sites);
    uint64_t where = read_number(&sites);
    if (begin < frame->at && frame->at <= end) {
      *pad = function + where / 2;
      return !where ? PASSES : where & 1 ? CATCHES : CLEANS_UP;
    }
  }
  return CANNOT_PANIC;
}

/* From a function to its caller: what it saved lies under its frame pointer. */
static void leave(struct frame *frame, uint32_t bits) {
  const uint64_t *saved = (const uint64_t *)frame->rbp;
  frame->rsp = (uint64_t)(saved + 2);
  frame->at = (const char *)saved[1];
  frame->rbp = saved[0];
  if (bits & R15) frame->r15 = *--saved;
  if (bits & R14) frame->r14 = *--saved;
  if (bits & R13) frame->r13 = *--saved;
  if (bits & R12) frame->r12 = *--saved;
  if (bits & RBX) frame->rbx = *--saved;
}

/* Walks to the next frame that does something at least as much as `wanted`. */
static int walk(struct frame *frame, enum landing wanted) {
  for (;;) {
    const uint32_t *entry = describe(frame->at);
    if (!entry) return 0;
    const char *pad = 0;
    enum landing landing = land(frame, *entry, function_of(entry), &pad);
    if (landing == CANNOT_PANIC) return 0;
    if (landing >= wanted) {
      frame->at = pad;
      return 1;
    }
    leave(frame, *entry >> DISTANCE_BITS);
  }
}

/* Goes on at a landing pad, which expects the exception in %rax. */
__attribute__((noreturn)) void aureon_land(const struct frame *frame, void *exception);

/* Called by _Unwind_RaiseException; returns only if nothing catches the panic. */
__attribute__((used)) int aureon_raise(void *exception, struct frame *thrown) {
  struct frame frame = *thrown;
  frame.rsp = (uint64_t)(&thrown->at + 1);
  struct frame catching = frame;
  if (walk(&catching, CATCHES) && walk(&frame, CLEANS_UP)) aureon_land(&frame, exception);
  return 5; /* _URC_END_OF_STACK */
}

/* Called by _Unwind_Resume, which a landing pad that has cleaned up calls. */
__attribute__((used, noreturn)) void aureon_resume(void *exception, struct frame *resumed) {
  struct frame frame = *resumed;
  frame.rsp = (uint64_t)(&resumed->at + 1);
  if (walk(&frame, CLEANS_UP)) aureon_land(&frame, exception);
  abort();
}

/* Both entries push a struct frame without its last member, and keep the stack aligned. */
__asm__(
  ".pushsection .text.aureon_unwind, \"ax\", @progbits\n"
  ".macro with_frame handler\n"
  "push %r15\npush %r14\npush %r13\npush %r12\npush %rbp\npush %rbx\n"
  "mov %rsp, %rsi\nsub $8, %rsp\ncall \\handler\n"
  ".endm\n"
  ".globl _Unwind_RaiseException\n_Unwind_RaiseException:\n"
  "with_frame aureon_raise\nadd $56, %rsp\nret\n"
  ".globl _Unwind_Resume\n_Unwind_Resume:\n"
  "with_frame aureon_resume\n"
  /* The stack pointer comes last: a signal may overwrite what is below it. */
  "aureon_land:\n"
  "mov %rsi, %rax\nmov (%rdi), %rbx\nmov 8(%rdi), %rbp\nmov 16(%rdi), %r12\n"
  "mov 24(%rdi), %r13\nmov 32(%rdi), %r14\nmov 40(%rdi), %r15\nmov 48(%rdi), %rcx\n"
  "mov 56(%rdi), %rsp\nxor %edx, %edx\njmp *%rcx\n"
  ".popsection\n");

/* std drops foreign exceptions, and there are none. */
void _Unwind_DeleteException(void *exception) { (void)exception; abort(); }

/* With RUST_BACKTRACE=1 std asks for the list of frames: an empty one. */
int _Unwind_Backtrace(void *each, void *argument) {
  (void)each;
  (void)argument;
  return 5; /* _URC_END_OF_STACK */
}
uint64_t _Unwind_GetIP(void *frame) { (void)frame; return 0; }
