/* What std asks of the C library, in the few bytes that this program needs.
 *
 * musl goes other ways on a kernel that is older than a call, or than one of its flags. std needs
 * Linux 3.2 and goes no other way itself, so here a call is that call. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* std names threads, and each names itself. musl's function names others too, through a path in
 * /proc that it writes with printf: 12 KB. */
int pthread_setname_np(pthread_t thread, const char *name) {
  return pthread_equal(thread, pthread_self()) ? prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL)
                                             : ESRCH;
}

/* std asks for the size of a page, which is one on x86-64, and how many processors there are if the
 * kernel does not say which ones a thread may use, which every one does. */
long sysconf(int name) {
  if (name == _SC_PAGESIZE) return 4096;
  errno = EINVAL;
  return -1;
}

int socket(int domain, int type, int protocol) {
  return syscall(SYS_socket, domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int pair[2]) {
  return syscall(SYS_socketpair, domain, type, protocol, pair);
}

int accept4(int socket, struct sockaddr *restrict from, socklen_t *restrict length, int flags) {
  return syscall(SYS_accept4, socket, from, length, flags);
}

int pipe2(int ends[2], int flags) { return syscall(SYS_pipe2, ends, flags); }

/* struct stat is the kernel's own on x86-64. */
int fstat(int file, struct stat *facts) { return syscall(SYS_fstat, file, facts); }

int stat(const char *restrict path, struct stat *restrict facts) {
  return syscall(SYS_stat, path, facts);
}

int lstat(const char *restrict path, struct stat *restrict facts) {
  return syscall(SYS_lstat, path, facts);
}

/* Their last argument is named by three dots, and passed as any other. */
int fcntl(int file, int command, unsigned long argument) {
  return syscall(SYS_fcntl, file, command, argument);
}

/* musl's sets what O_CLOEXEC asks for once more. */
int open(const char *path, int flags, unsigned long mode) {
  return syscall(SYS_open, path, flags, mode);
}

int openat(int directory, const char *path, int flags, unsigned long mode) {
  return syscall(SYS_openat, directory, path, flags, mode);
}
