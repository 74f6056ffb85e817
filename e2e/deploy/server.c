/* A program of somebody's who knows nothing of AUREON: it answers every request but /readyz,
 * which only aureond has, with its version, on the socket that it is given (LISTEN_FDS) or on the
 * port that it is told (PORT). One process, one thread for each connection. After TERM it finishes
 * what it has begun. */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ending[2];
static int open_streams;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t closed = PTHREAD_COND_INITIALIZER;

static void count(int by) {
  pthread_mutex_lock(&lock);
  open_streams += by;
  pthread_cond_signal(&closed);
  pthread_mutex_unlock(&lock);
}

static void on_term(int number) {
  (void)number;
  if (write(ending[1], "", 1) < 0)
    _exit(1);
}

static void *serve(void *given) {
  int stream = (int)(long)given, length = 0, got;
  char head[8192], answer[256];
  while ((got = read(stream, head + length, sizeof head - 1 - length)) > 0) {
    length += got;
    head[length] = 0;
    if (!strstr(head, "\r\n\r\n"))
      continue;
    int written = snprintf(answer, sizeof answer,
                           "HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
                           "Connection: close\r\n\r\n%s\n",
                           strncmp(head, "GET /readyz", 11) ? "200 OK" : "404 Not Found",
                           (int)strlen(VERSION) + 1, VERSION);
    if (write(stream, answer, written) < 0)
      break;
    shutdown(stream, SHUT_WR);
    while (read(stream, head, sizeof head) > 0) {
    }
    break;
  }
  close(stream);
  count(-1);
  return 0;
}

static int opened(const char *port) {
  int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
    perror("listen");
    exit(1);
  }
  return listener;
}

int main(void) {
  const char *port = getenv("PORT");
  int listener = getenv("LISTEN_FDS") ? 3 : port ? opened(port) : -1;
  if (strcmp(VERSION, "broken") == 0) {
    fputs("no database\n", stderr);
    return 1;
  }
  if (pipe(ending))
    return 1;
  signal(SIGTERM, on_term);
  signal(SIGPIPE, SIG_IGN);
  struct pollfd waits[2] = {{listener, POLLIN, 0}, {ending[0], POLLIN, 0}};
  while (!waits[1].revents) {
    if (poll(waits, 2, -1) < 0 || !(waits[0].revents & POLLIN))
      continue;
    int stream = accept(listener, 0, 0);
    pthread_t thread;
    if (stream < 0)
      return 1;
    count(1);
    if (pthread_create(&thread, 0, serve, (void *)(long)stream))
      return 1;
    pthread_detach(thread);
  }
  pthread_mutex_lock(&lock);
  while (open_streams > 0)
    pthread_cond_wait(&closed, &lock);
  return 0;
}
