/* What std asks of the C library, in the few bytes that this program needs. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

/* std names threads, and each names itself. musl's function names others too, through a path in
 * /proc that it writes with printf: 12 KB. */
int pthread_setname_np(pthread_t thread, const char *name) {
  return pthread_equal(thread, pthread_self()) ? prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL)
                                             : ESRCH;
}
