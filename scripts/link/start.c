/* Where the program starts: applies its packed relocations, then goes on to musl's own start.
 *
 * A position-independent program adds its load address to every pointer in its data before it
 * starts. As a table of 24 bytes a pointer that is 31 KB; packed (DT_RELR, a bitmap: ELF gABI,
 * "Relative Relocation Table") it is one. musl reads packed tables from 1.2.4 on, Debian 12 has
 * 1.2.3. */
#include <elf.h>
#include <stdint.h>
/* x86-64: the stack pointer at entry is all that the next start needs. */
__asm__(
  ".text\n.global aureon_start\n.type aureon_start, @function\naureon_start:\n"
  "xor %ebp, %ebp\nmov %rsp, %rbx\nand $-16, %rsp\n"
  ".hidden _DYNAMIC\nlea _DYNAMIC(%rip), %rdi\n"
  ".hidden __ehdr_start\nlea __ehdr_start(%rip), %rsi\n"
  "call apply_packed_relocations\nmov %rbx, %rsp\njmp _start\n");
#define RELR_SIZE 35
#define RELR 36
__attribute__((visibility("hidden"), used))
void apply_packed_relocations(const Elf64_Dyn *dynamic, char *base) {
  const uint64_t *entry = 0;
  uint64_t bytes = 0, *where = 0;
  for (; dynamic->d_tag; dynamic++) {
    if (dynamic->d_tag == RELR) entry = (const uint64_t *)(base + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == RELR_SIZE) bytes = dynamic->d_un.d_val;
  }
  for (; bytes; bytes -= sizeof *entry, entry++) {
    uint64_t bits = *entry;
    if (bits & 1) {
      /* A bitmap of the 63 words that follow. */
      for (uint64_t *at = where; bits >>= 1; at++)
        if (bits & 1) *at += (uint64_t)base;
      where += 63;
    } else {
      where = (uint64_t *)(base + bits);
      *where++ += (uint64_t)base;
    }
  }
}
