/* Listeners, loops, TLS, starting and stopping. */
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

_Thread_local http_loop *http_current_loop;

double http_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool http_on_loop(const http_loop *loop) {
  return http_current_loop == loop;
}

/* ---- messages to the loops ---- */

static _Thread_local struct {
  bool on;
  http_message *first, **last;
} gathered;

static void send_message(http_message *message) {
  h2o_multithread_send_message(&message->loop->receiver, &message->super);
}

void http_post(http_loop *loop, http_message *message) {
  message->loop = loop;
  message->next = NULL;
  if (!gathered.on)
    send_message(message);
  else {
    *gathered.last = message;
    gathered.last = &message->next;
  }
}

void http_gather(void) {
  gathered.on = true;
  gathered.first = NULL;
  gathered.last = &gathered.first;
}

void http_flush(void) {
  gathered.on = false;
  for (http_message *m = gathered.first, *next; m; m = next) {
    next = m->next; /* the loop frees it */
    send_message(m);
  }
}

static void on_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages) {
  (void)receiver;
  while (!h2o_linklist_is_empty(messages)) {
    http_message *m = H2O_STRUCT_FROM_MEMBER(http_message, super.link, messages->next);
    h2o_linklist_unlink(&m->super.link);
    m->run(m);
  }
}

/* ---- TLS ---- */

static SSL_CTX *load_tls(const http_options *o, char *error, size_t size) {
  SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
  /* Of TLS 1.2 only what has forward secrecy and AEAD (RFC 9325); all of 1.3 does. */
  if (tls && SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
      SSL_CTX_set_cipher_list(tls, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
      SSL_CTX_use_certificate_chain_file(tls, o->certificate) == 1 &&
      SSL_CTX_use_PrivateKey_file(tls, o->key, SSL_FILETYPE_PEM) == 1 &&
      SSL_CTX_check_private_key(tls) == 1) {
    SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_NO_RENEGOTIATION);
    h2o_ssl_register_alpn_protocols(tls, h2o_http2_alpn_protocols);
    return tls;
  }
  char reason[256];
  ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
  snprintf(error, size, "TLS certificate %s with key %s: %s", o->certificate, o->key, reason);
  SSL_CTX_free(tls);
  return NULL;
}

bool http_server_reload_tls(http_server *s, char *error, size_t size) {
  if (!s->tls) return true;
  SSL_CTX *fresh = load_tls(&s->options, error, size);
  if (!fresh) return false;
  pthread_mutex_lock(&s->mutex);
  SSL_CTX *old = s->tls;
  s->tls = fresh;
  pthread_mutex_unlock(&s->mutex);
  SSL_CTX_free(old); /* connections hold it as long as they need it */
  return true;
}

/* ---- listening ---- */

static int listen_on(const http_options *o, int *port, char *error, size_t size) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)*port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
  const char *host = o->host ? o->host : "127.0.0.1";
  bool is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1;
  if (!is_four && inet_pton(AF_INET6, host, &six.sin6_addr) != 1) {
    snprintf(error, size, "\"%s\" is not a numeric address", host);
    return -1;
  }
  int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
      on = 1;
  struct sockaddr *address = is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;
  socklen_t length = is_four ? sizeof four : sizeof six;
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on);
  }
  if (fd < 0 || bind(fd, address, length) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, address, &length) != 0) {
    snprintf(error, size, "cannot listen on %s port %d: %s", host, *port, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
  }
  *port = ntohs(is_four ? four.sin_port : six.sin6_port);
  return fd;
}

/* SO_REUSEPORT lets the loops share a port; that another program has it must be noticed all the
 * same. */
static bool is_taken(const http_options *o, char *error, size_t size) {
  http_options once = *o;
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
  if (o->port == 0 || inet_pton(AF_INET, once.host ? once.host : "127.0.0.1", &four.sin_addr) != 1)
    return false;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool taken =
      fd >= 0 && bind(fd, (struct sockaddr *)&four, sizeof four) != 0 && errno == EADDRINUSE;
  if (taken)
    snprintf(error, size, "port %d is taken by another program; choose one with --listen", o->port);
  if (fd >= 0) close(fd);
  return taken;
}

static void on_accept(h2o_socket_t *listener, const char *problem);

static void on_pause_over(h2o_timeout_entry_t *entry) {
  http_loop *loop = H2O_STRUCT_FROM_MEMBER(http_loop, pause_entry, entry);
  if (loop->listener) h2o_socket_read_start(loop->listener, on_accept);
}

/* Out of descriptors or memory: the listener stays readable, and the loop would turn without end.
 */
static void pause_accepting(http_loop *loop, int error) {
  bool out = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
  if (!out || h2o_timeout_is_linked(&loop->pause_entry)) return;
  h2o_socket_read_stop(loop->listener);
  h2o_timeout_link(loop->loop, &loop->pause, &loop->pause_entry);
}

static void on_accept(h2o_socket_t *listener, const char *problem) {
  http_loop *loop = http_current_loop;
  if (problem) return;
  for (int i = 0; i < 16; i++) {
    errno = 0;
    h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
    if (!socket) {
      pause_accepting(loop, errno);
      return;
    }
    http_connection *c = loop->stopping ? NULL : http_connection_opened(loop, socket);
    if (c)
      http_accept(c);
    else
      h2o_socket_close(socket);
  }
}

/* ---- the loops ---- */

typedef struct stopping {
  http_message super;
  http_loop *loop;
} stopping;

static void run_stopping(http_message *message) {
  http_loop *loop = ((stopping *)message)->loop;
  free(message);
  loop->stopping = true;
  h2o_socket_read_stop(loop->listener);
  h2o_socket_close(loop->listener);
  loop->listener = NULL;
  h2o_context_request_shutdown(&loop->context);
  for (http_stream *s = loop->streams, *next; s; s = next) {
    next = http_stream_next(s);
    http_stream_end(s);
  }
}

/* On the loop's own thread: what libh2o allocates here comes from, and goes back to, lists of this
 * thread. */
static void start_loop(http_loop *loop) {
  http_server *s = loop->server;
  http_current_loop = loop;
  loop->loop = h2o_evloop_create();
  h2o_context_init(&loop->context, loop->loop, &s->config);
  loop->accept.ctx = &loop->context;
  loop->accept.hosts = s->config.hosts;
  h2o_multithread_register_receiver(loop->context.queue, &loop->receiver, on_messages);
  h2o_timeout_init(loop->loop, &loop->pause, 100);
  loop->pause_entry.cb = on_pause_over;
  loop->listener = h2o_evloop_socket_create(loop->loop, loop->fd, H2O_SOCKET_FLAG_DONT_READ);
  h2o_socket_read_start(loop->listener, on_accept);
}

static void *run_loop(void *arg) {
  http_loop *loop = arg;
  start_loop(loop);
  pthread_barrier_wait(&loop->server->started);
  while (!loop->stopping) {
    h2o_evloop_run(loop->loop, 1000);
    double now = http_now();
    if (now - loop->swept < 1) continue;
    http_connections_sweep(loop, now);
    loop->swept = now;
  }
  double deadline = http_now() + loop->server->drain_seconds;
  while (loop->pending > 0 && http_now() < deadline) h2o_evloop_run(loop->loop, 50);
  return NULL;
}

/* Bodies from 4 MiB on lie in files without names, which libh2o maps. */
static void set_spool(http_server *s) {
  const char *folder = s->options.spool_folder ? s->options.spool_folder : "/tmp";
  int n = snprintf(s->spool, sizeof s->spool, "%s/body-XXXXXX", folder);
  if (n < 0 || (size_t)n >= sizeof s->spool) return;
  h2o_socket_buffer_mmap_settings.threshold = (size_t)4 << 20;
  snprintf(h2o_socket_buffer_mmap_settings.fn_template,
           sizeof h2o_socket_buffer_mmap_settings.fn_template, "%s", s->spool);
}

static void configure(http_server *s) {
  const http_options *o = &s->options;
  h2o_config_init(&s->config);
  s->config.server_name = h2o_iovec_init(H2O_STRLIT("webml"));
  /* These two are minded in http1.c, http2.c and connection.c, which know more. */
  s->config.max_request_entity_size = SIZE_MAX / 4;
  s->config.http1.req_timeout = (uint64_t)86400 * 1000;
  s->config.http1.upgrade_to_http2 = 0;
  set_spool(s);
  s->config.http2.idle_timeout = (uint64_t)o->idle_seconds * 1000;
  s->config.http2.max_concurrent_requests_per_connection = 100;
  h2o_hostconf_t *host =
      h2o_config_register_host(&s->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
  h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
  h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = http_on_request;
}

/* Descriptors are left for the store, files and programs. */
static int most_connections(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 100000) return 16384;
  int files = (int)limit.rlim_cur, most = files > 512 ? files - 256 : files / 2;
  return most < 16384 ? most : 16384;
}

static void settle(http_options *o) {
  if (!o->loops) o->loops = (int)sysconf(_SC_NPROCESSORS_ONLN);
  if (!o->max_body) o->max_body = (size_t)16 << 20;
  int most = most_connections();
  if (!o->max_connections || o->max_connections > most) o->max_connections = most;
  if (!o->max_connections_per_address) o->max_connections_per_address = 2048;
  if (!o->max_resets) o->max_resets = 200;
  if (!o->idle_seconds) o->idle_seconds = 120;
  if (!o->max_head) o->max_head = (size_t)32 << 10;
  if (!o->max_fields) o->max_fields = 100;
  if (!o->max_held_per_address) o->max_held_per_address = (size_t)512 << 20;
  if (!o->max_held) o->max_held = (size_t)2 << 30;
}

http_server *http_server_create(const http_options *options, char *error, size_t size) {
  http_server *s = calloc(1, sizeof *s);
  snprintf(error, size, "out of memory");
  if (!s) return NULL;
  s->options = *options;
  settle(&s->options);
  s->wake = eventfd(0, EFD_CLOEXEC);
  s->port = s->options.port;
  pthread_mutex_init(&s->mutex, NULL);
  s->loops = calloc((size_t)s->options.loops, sizeof *s->loops);
  if (!s->loops || s->wake < 0) goto failed;
  if (!http_networks_parse(options->trusted_proxies, &s->proxies, error, size)) goto failed;
  if (options->certificate && !(s->tls = load_tls(&s->options, error, size))) goto failed;
  if (is_taken(&s->options, error, size)) goto failed;
  for (; s->n_loops < s->options.loops; s->n_loops++)
    if ((s->loops[s->n_loops].fd = listen_on(&s->options, &s->port, error, size)) < 0) goto failed;
  return s;
failed:
  http_server_destroy(s);
  return NULL;
}

int http_server_port(const http_server *s) {
  return s->port;
}

void http_server_run(http_server *s, int drain_seconds) {
  uint64_t count;
  configure(s); /* here, not in create(): the loops' memory belongs to the process that serves */
  int started = 0;
  if (s->options.body.wants && !http_writers_start(&s->writers)) {
    fprintf(stderr, "webml-server: cannot start a thread\n");
    exit(1);
  }
  pthread_barrier_init(&s->started, NULL, (unsigned)s->n_loops + 1);
  for (; started < s->n_loops; started++) {
    s->loops[started].server = s;
    if (pthread_create(&s->loops[started].thread, NULL, run_loop, &s->loops[started]) != 0) {
      fprintf(stderr, "webml-server: cannot start a thread\n");
      exit(1);
    }
  }
  pthread_barrier_wait(&s->started); /* from here on every loop takes messages */
  while (!atomic_load(&s->stop) && read(s->wake, &count, sizeof count) < 0 && errno == EINTR) {
  }
  s->drain_seconds = drain_seconds;
  for (int i = 0; i < s->n_loops; i++) {
    stopping *m = calloc(1, sizeof *m);
    if (!m) continue;
    *m = (stopping){{.run = run_stopping}, &s->loops[i]};
    http_post(&s->loops[i], &m->super);
  }
  for (int i = 0; i < s->n_loops; i++) pthread_join(s->loops[i].thread, NULL);
  if (s->options.body.wants) http_writers_stop(&s->writers);
}

void http_server_stop(http_server *s) {
  uint64_t one = 1;
  atomic_store(&s->stop, true);
  if (write(s->wake, &one, sizeof one) < 0) return; /* it counts beyond any use: it is awake */
}

bool http_server_is_stopping(const http_server *server) {
  return atomic_load(&((http_server *)(uintptr_t)server)->stop);
}

void http_server_destroy(http_server *s) {
  if (!s) return;
  for (int i = 0; i < s->n_loops; i++)
    if (!s->loops[i].loop) close(s->loops[i].fd);
  if (s->wake >= 0) close(s->wake);
  if (s->tls) SSL_CTX_free(s->tls);
  pthread_mutex_destroy(&s->mutex);
  free(s->loops);
  free(s);
}

void http_server_counts(const http_server *server, http_counts *c) {
  http_server *s = (http_server *)(uintptr_t)server;
  *c = (http_counts){atomic_load(&s->connections), (uint64_t)atomic_load(&s->open),
                     atomic_load(&s->requests),    atomic_load(&s->resets),
                     atomic_load(&s->refused),     atomic_load(&s->rejected),
                     atomic_load(&s->ended),       0};
  pthread_mutex_lock(&s->mutex);
  c->held = s->held;
  pthread_mutex_unlock(&s->mutex);
}
