/* What a server costs at the least, for bench/serving.py to compare with.
 *
 *   bare answer THREADS BYTES           libh2o alone: takes any body, answers BYTES bytes
 *   bare events LISTENERS RATE BYTES SECONDS
 *                                       a loop of socket writes: BYTES to each listener, RATE times
 *                                       a second; prints the seconds of processor time it took
 *
 * Both print the port they listen on. */
#include <arpa/inet.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static char *body;
static size_t body_size;
static int port;

static int listen_on(void) {
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_port = htons((uint16_t)port),
                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, (struct sockaddr *)&a, &n) != 0) {
    perror("bare");
    exit(1);
  }
  port = ntohs(a.sin_port);
  return fd;
}

/* ---- answers ---- */

typedef struct loop {
  pthread_t thread;
  int fd;
  h2o_globalconf_t config;
  h2o_context_t context;
  h2o_accept_ctx_t accept;
} loop;

static int on_request(h2o_handler_t *handler, h2o_req_t *req) {
  (void)handler;
  req->res.status = 200;
  req->res.reason = "OK";
  req->res.content_length = body_size;
  h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                 H2O_STRLIT("application/octet-stream"));
  h2o_send_inline(req, body, body_size);
  return 0;
}

static void on_accept(h2o_socket_t *listener, const char *problem) {
  loop *l = listener->data;
  h2o_socket_t *socket;
  if (!problem && (socket = h2o_evloop_socket_accept(listener))) h2o_accept(&l->accept, socket);
}

static void *run_loop(void *arg) {
  loop *l = arg;
  h2o_config_init(&l->config);
  h2o_hostconf_t *host =
      h2o_config_register_host(&l->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
  h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
  h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
  h2o_context_init(&l->context, h2o_evloop_create(), &l->config);
  l->accept.ctx = &l->context;
  l->accept.hosts = l->config.hosts;
  h2o_socket_t *s = h2o_evloop_socket_create(l->context.loop, l->fd, H2O_SOCKET_FLAG_DONT_READ);
  s->data = l;
  h2o_socket_read_start(s, on_accept);
  while (h2o_evloop_run(l->context.loop, INT32_MAX) == 0) {
  }
  return NULL;
}

static int answer(int threads) {
  loop *loops = calloc((size_t)threads, sizeof *loops);
  for (int i = 0; i < threads; i++) loops[i].fd = listen_on();
  for (int i = 0; i < threads; i++) pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]);
  printf("%d\n", port);
  fflush(stdout);
  pthread_join(loops[0].thread, NULL);
  return 0;
}

/* ---- events ---- */

static int events(int listeners, double rate, double seconds) {
  int listener = listen_on(), *fds = calloc((size_t)listeners, sizeof *fds), on = 1;
  struct timespec next;
  struct rusage use, before;
  printf("%d\n", port);
  fflush(stdout);
  for (int i = 0; i < listeners; i++) {
    fds[i] = accept(listener, NULL, NULL);
    setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  getrusage(RUSAGE_SELF, &before);
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (int k = 0; k < (int)(rate * seconds); k++) {
    for (int i = 0; i < listeners; i++)
      if (write(fds[i], body, body_size) < 0) return 1;
    next.tv_nsec += (long)(1e9 / rate);
    while (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
  getrusage(RUSAGE_SELF, &use);
#define SECONDS(t) ((double)(t).tv_sec + (double)(t).tv_usec * 1e-6)
  printf("%.4f\n", SECONDS(use.ru_utime) + SECONDS(use.ru_stime) - SECONDS(before.ru_utime) -
                       SECONDS(before.ru_stime));
  return 0;
}

int main(int argc, char **argv) {
  bool is_answer = argc == 4 && strcmp(argv[1], "answer") == 0;
  bool is_events = argc == 6 && strcmp(argv[1], "events") == 0;
  if (!is_answer && !is_events) {
    fputs("usage: bare answer THREADS BYTES | bare events LISTENERS RATE BYTES SECONDS\n", stderr);
    return 2;
  }
  body_size = (size_t)atoi(argv[is_answer ? 3 : 4]);
  body = malloc(body_size + 1);
  memset(body, 'x', body_size);
  return is_answer ? answer(atoi(argv[2])) : events(atoi(argv[2]), atof(argv[3]), atof(argv[5]));
}
