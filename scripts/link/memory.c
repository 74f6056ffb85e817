/* Copies and compares memory, in the place of musl's functions for it.
 *
 * musl's copy goes byte by byte to where its target is aligned, then by `rep movsq`, which takes
 * some thirty cycles to begin whatever its length is. A request has dozens of copies, nearly all
 * of them shorter than a cache line: here such a copy is two loads and two stores that may overlap,
 * and one that is longer goes by sixteen bytes. Everything is read before what it could be
 * overwritten by is written, so the copy for regions that overlap is the same function. */
#include <stddef.h>
#include <stdint.h>

/* Nothing here is aligned, and everything may be looked at as these. */
typedef uint16_t __attribute__((aligned(1), may_alias)) two;
typedef uint32_t __attribute__((aligned(1), may_alias)) four;
typedef uint64_t __attribute__((aligned(1), may_alias)) eight;
typedef uint64_t __attribute__((vector_size(16), aligned(1), may_alias)) sixteen;

/* The first and the last of a type's size in `n` bytes, which has room for one and at most two. */
#define COPY_ENDS(type) do { \
    type first = *(const type *)from, last = *(const type *)(from + n - sizeof(type)); \
    *(type *)to = first; \
    *(type *)(to + n - sizeof(type)) = last; \
    return target; \
  } while (0)

/* From here on the processor's own loop wins, where it moves whole cache lines. */
enum { LONG = 1024 };

void *memmove(void *target, const void *source, size_t n) {
  unsigned char *to = target;
  const unsigned char *from = source;
  if (n <= 32) {
    if (n >= 16) COPY_ENDS(sixteen);
    if (n >= 8) COPY_ENDS(eight);
    if (n >= 4) COPY_ENDS(four);
    if (n >= 2) COPY_ENDS(two);
    if (n) *to = *from;
    return target;
  }
  size_t at;
  if ((uintptr_t)to - (uintptr_t)from >= n) {
    if (n >= LONG && (uintptr_t)from - (uintptr_t)to >= n) {
      __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
      return target;
    }
    sixteen last = *(const sixteen *)(from + n - 16);
    for (at = 0; at < n - 16; at += 16) *(sixteen *)(to + at) = *(const sixteen *)(from + at);
    *(sixteen *)(to + n - 16) = last;
    return target;
  }
  /* The target begins inside the source: from the end. */
  sixteen first = *(const sixteen *)from;
  for (at = n; at > 16; at -= 16)
    *(sixteen *)(to + at - 16) = *(const sixteen *)(from + at - 16);
  *(sixteen *)to = first;
  return target;
}

void *memcpy(void *restrict, const void *restrict, size_t) __attribute__((alias("memmove")));

int memcmp(const void *left, const void *right, size_t n) {
  const unsigned char *a = left, *b = right;
  for (; n >= 8 && *(const eight *)a == *(const eight *)b; n -= 8) a += 8, b += 8;
  for (; n && *a == *b; n--) a++, b++;
  return n ? *a - *b : 0;
}

int bcmp(const void *, const void *, size_t) __attribute__((alias("memcmp")));
