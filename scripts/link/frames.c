/* What std and gcc's unwinder ask of the C library, in the few bytes that this program needs. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>

/* gcc's unwinder finds a function's table through an index that the linker makes (.eh_frame_hdr,
 * 12 KB) or, where there is none, through a table that was registered with it: then it makes the
 * index in memory when the first panic is thrown. This object is linked first, so the tables begin
 * where its own, which is empty, does. `object` is the unwinder's to use: struct object of
 * libgcc's unwind-dw2-fde.h has six words. */
__asm__(".section .eh_frame,\"a\",@progbits\n.hidden aureon_frames\naureon_frames:\n.text\n");
extern const char aureon_frames[] __attribute__((visibility("hidden")));
void __register_frame_info(const void *begin, void *object);
__attribute__((constructor)) static void register_frames(void) {
  static size_t object[8];
  __register_frame_info(aureon_frames, object);
}

/* glibc's dlfcn.h; it is asked for what was not registered, and there is nothing else. */
int _dl_find_object(void *pc, void *found) {
  (void)pc;
  (void)found;
  return -1;
}

/* gcc's unwinder refers to the thread functions weakly, which does not pull them out of a static
 * libc, and then calls address 0: this refers to them strongly. */
void *const threads[] = {
  (void *)pthread_once, (void *)pthread_mutex_lock, (void *)pthread_mutex_unlock,
  (void *)pthread_key_create, (void *)pthread_getspecific, (void *)pthread_setspecific,
};

/* std names threads, and each names itself. musl's function names others too, through a path in
 * /proc that it writes with printf: 12 KB. */
int pthread_setname_np(pthread_t thread, const char *name) {
  return pthread_equal(thread, pthread_self()) ? prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL)
                                             : ESRCH;
}
