/* Limits on connections: how many in all and of one address, what they may hold in memory, how many
 * requests one may give up, and how long a client may take to send a request and to take an answer.
 */
#include "incoming.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
  QUANTUM = 64 << 10, /* changes below this are not counted: no lock for small requests */
  RATE = 4096         /* bytes that buy a client a second more */
};

/* ---- clients; the server's mutex is held ---- */

static http_client **place_of(http_server *s, const char *name) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  for (const char *p = name; *p; p++) hash = (hash ^ (unsigned char)*p) * 16777619u;
  http_client **place = &s->clients[hash % HTTP_CLIENT_BUCKETS];
  while (*place && strcmp((*place)->name, name) != 0) place = &(*place)->next;
  return place;
}

/* NULL: one too many. */
static http_client *enter(http_server *s, const char *name, int most) {
  http_client **place = place_of(s, name), *client = *place;
  if (!client) {
    client = *place = calloc(1, sizeof *client);
    if (!client) return NULL;
    snprintf(client->name, sizeof client->name, "%s", name);
  }
  if (client->connections >= most) return NULL;
  client->connections++;
  return client;
}

static void leave(http_server *s, http_client *client) {
  if (--client->connections) return;
  *place_of(s, client->name) = client->next;
  free(client);
}

http_client *http_client_enter(http_server *s, const char *address) {
  char name[48];
  http_client_name(address, name);
  pthread_mutex_lock(&s->mutex);
  http_client *client = enter(s, name, s->options.max_connections_per_address);
  pthread_mutex_unlock(&s->mutex);
  return client;
}

void http_client_leave(http_server *s, http_client *client) {
  pthread_mutex_lock(&s->mutex);
  leave(s, client);
  pthread_mutex_unlock(&s->mutex);
}

/* ---- life ---- */

static void on_closed(void *data) {
  http_connection *c = data;
  http_server *s = c->loop->server;
  pthread_mutex_lock(&s->mutex);
  c->client->held -= c->held;
  s->held -= c->held;
  leave(s, c->client);
  s->closed++;
  pthread_mutex_unlock(&s->mutex);
  atomic_fetch_sub(&s->open, 1);
  if (c->gone) *c->gone = true;
  h2o_timeout_unlink(&c->again);
  *c->place = c->next;
  if (c->next) c->next->place = c->place;
  if (c->tls) SSL_CTX_free(c->tls);
  http1_free(c);
  http2_free(c);
  if (c->early) http_request_release(c->early);
  free(c);
}

static void read_peer(h2o_socket_t *socket, char address[48]) {
  struct sockaddr_storage peer = {0};
  char numeric[NI_MAXHOST] = "";
  socklen_t length = h2o_socket_getpeername(socket, (struct sockaddr *)&peer);
  size_t n = length ? h2o_socket_getnumerichost((struct sockaddr *)&peer, length, numeric) : 0;
  if (n == SIZE_MAX || n >= 48) n = 0;
  memcpy(address, numeric, n);
  address[n] = '\0';
}

http_connection *http_connection_opened(http_loop *loop, h2o_socket_t *socket) {
  char name[48];
  http_server *s = loop->server;
  http_connection *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  read_peer(socket, c->address);
  http_client_name(c->address, name);
  c->is_proxy = http_networks_have(&s->proxies, c->address);
  c->loop = loop;
  c->socket = socket;
  c->opened = c->idle_since = http_now();
  atomic_fetch_add(&s->connections, 1);
  bool room = atomic_fetch_add(&s->open, 1) < s->options.max_connections;
  int most = c->is_proxy ? INT_MAX : s->options.max_connections_per_address;
  pthread_mutex_lock(&s->mutex);
  c->client = room ? enter(s, name, most) : NULL;
  pthread_mutex_unlock(&s->mutex);
  if (!c->client) {
    atomic_fetch_sub(&s->open, 1);
    atomic_fetch_add(&s->refused, 1);
    free(c);
    return NULL;
  }
  c->place = &loop->connections;
  c->next = loop->connections;
  if (c->next) c->next->place = &c->next;
  loop->connections = c;
  socket->on_close.cb = on_closed;
  socket->on_close.data = c;
  return c;
}

static void cut(http_connection *c) {
  shutdown(h2o_socket_get_fd(c->socket), SHUT_RDWR);
}

void http_connection_note_end(http_connection *c, const char *reason) {
  static atomic_uint_fast64_t untold;
  static atomic_int_fast64_t told;
  int_fast64_t now = (int_fast64_t)http_now(), before = atomic_load(&told);
  atomic_fetch_add(&c->loop->server->ended, 1);
  atomic_fetch_add(&untold, 1);
  if (now != before && atomic_compare_exchange_strong(&told, &before, now))
    fprintf(stderr, "webml-server: %llu connections ended; the last one, of %s: %s\n",
            (unsigned long long)atomic_exchange(&untold, 0), c->address, reason);
}

void http_connection_end(http_connection *c, const char *reason) {
  http_connection_note_end(c, reason);
  cut(c);
}

/* ---- memory ---- */

bool http_connection_holds(http_connection *c, size_t bytes) {
  http_server *s = c->loop->server;
  bool more = bytes > c->held, fits = true;
  if (bytes < QUANTUM) bytes = 0;
  if (more ? bytes - c->held < QUANTUM : c->held - bytes < QUANTUM) return true;
  size_t was = c->held;
  pthread_mutex_lock(&s->mutex);
  size_t of_client = c->client->held - was + bytes, of_all = s->held - was + bytes;
  fits = !more || (of_client <= s->options.max_held_per_address && of_all <= s->options.max_held);
  if (fits) {
    c->client->held = of_client;
    s->held = of_all;
    c->held = bytes;
    if (s->held > s->peak) s->peak = s->held;
  }
  pthread_mutex_unlock(&s->mutex);
  return fits;
}

void http_server_holds_more(http_server *s, size_t bytes) {
  pthread_mutex_lock(&s->mutex);
  s->held += bytes;
  if (s->held > s->peak) s->peak = s->held;
  pthread_mutex_unlock(&s->mutex);
}

void http_server_holds_less(http_server *s, size_t bytes) {
  pthread_mutex_lock(&s->mutex);
  s->held -= bytes;
  pthread_mutex_unlock(&s->mutex);
}

/* What many connections or large bodies have left in the allocator's lists goes back to the system
 * when most of them are gone, and once more for the last of them. It takes milliseconds, so not
 * more often than every other second. */
static void give_back(http_server *s, double now) {
  enum { CONNECTIONS = 32, BYTES = 16 << 20 };
  pthread_mutex_lock(&s->mutex);
  uint64_t closed = s->closed - s->closed_then;
  bool much = (closed >= CONNECTIONS && (uint64_t)atomic_load(&s->open) < 2 * closed) ||
              (s->peak >= BYTES && s->held < s->peak / 2);
  bool due = (much || s->once_more) && now - s->given_back >= 2;
  if (due) {
    s->once_more = much;
    s->closed_then = s->closed;
    s->peak = s->held;
    s->given_back = now;
  }
  pthread_mutex_unlock(&s->mutex);
  if (due) malloc_trim(1 << 20);
}

/* ---- requests ---- */

http_connection *http_connection_request(h2o_req_t *req, char address[48]) {
  h2o_socket_t *socket =
      req->conn->callbacks->get_socket ? req->conn->callbacks->get_socket(req->conn) : NULL;
  http_connection *c = socket && socket->on_close.cb == on_closed ? socket->on_close.data : NULL;
  memcpy(address, c ? c->address : "", c ? strlen(c->address) + 1 : 1);
  if (c) c->pending++;
  if (c) c->requests++;
  return c;
}

/* A client that opens requests and resets them at once ("rapid reset", CVE-2023-44487) costs a
 * server more than itself. */
void http_connection_done(http_connection *c, bool given_up) {
  c->pending--;
  c->idle_since = http_now();
  c->received_then = c->received;
  if (!given_up) return;
  atomic_fetch_add(&c->loop->server->resets, 1);
  if (++c->resets == c->loop->server->options.max_resets)
    http_connection_end(c, "it gave up too many requests");
}

/* ---- time ---- */

static bool is_blocked(http_connection *c) {
  if (c->two.connection) return http2_is_alive(c) && http2_is_blocked(c);
  return c->one.state == HTTP1_ANSWER && c->socket->_cb.write;
}

/* Bytes buy time, but none in advance: whoever stops for too long is late, whatever came before. */
static void buy_time(double *since, uint64_t bytes, double now) {
  *since += (double)bytes / RATE;
  if (*since > now) *since = now;
}

/* True: the client has taken next to nothing for too long. */
static bool takes_nothing(http_connection *c, double now, double most) {
  if (!is_blocked(c)) {
    c->blocked_since = 0;
    return false;
  }
  uint64_t taken = http_acknowledged(h2o_socket_get_fd(c->socket));
  if (c->blocked_since == 0)
    c->blocked_since = now;
  else
    buy_time(&c->blocked_since, taken - c->taken, now);
  c->taken = taken;
  return now - c->blocked_since > most;
}

/* A body is not read, or was read and is being handed on. */
static bool waits_for_server(const http_connection *c) {
  const http_incoming *b = c->one.body;
  return c->two.paused || (b && (b->whole || !http_incoming_room(b)));
}

static bool sends_nothing(http_connection *c, double now, double most) {
  buy_time(&c->idle_since, c->received - c->received_then, now);
  c->received_then = c->received;
  if (waits_for_server(c)) c->idle_since = now;
  return !c->pending && now - c->idle_since > most;
}

/* libh2o's own limit on HTTP/2 starts anew with every byte: one that sends a byte now and then
 * would stay for ever. Its limit on HTTP/1 knows no large bodies. */
void http_connections_sweep(http_loop *loop, double now) {
  double most = loop->server->options.idle_seconds + 1.0;
  for (http_connection *c = loop->connections; c; c = c->next) {
    if (c->held && http2_is_alive(c)) http_connection_holds(c, http2_held(c));
    if ((c->end_at > 0 && now > c->end_at) || sends_nothing(c, now, most))
      cut(c);
    else if (takes_nothing(c, now, most))
      http_connection_end(c, "it takes no answers");
  }
  if (loop == loop->server->loops) give_back(loop->server, now);
}
