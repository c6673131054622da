/* Limits on connections: how many in all and of one address, how many requests one may give up, and
 * how long one may take to send a request. */
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct http_connection {
  http_connection *next, **place; /* in the loop's list */
  http_loop *loop;
  h2o_socket_t *socket;
  char address[48];
  int resets, pending; /* pending: requests that are being answered */
  double idle_since;
};

/* ---- how many of an address; the server's mutex is held ---- */

static http_address *find(http_server *s, const char *name) {
  for (int i = 0; i < s->n_addresses; i++)
    if (strcmp(s->addresses[i].name, name) == 0) return &s->addresses[i];
  return NULL;
}

static bool enter(http_server *s, const char *name) {
  http_address *a = find(s, name);
  if (a && a->connections >= s->options.max_connections_per_address) return false;
  if (!a) {
    if (s->n_addresses == s->capacity) {
      int capacity = s->capacity * 2 + 16;
      http_address *grown = realloc(s->addresses, (size_t)capacity * sizeof *grown);
      if (!grown) return false;
      s->addresses = grown;
      s->capacity = capacity;
    }
    a = &s->addresses[s->n_addresses++];
    snprintf(a->name, sizeof a->name, "%s", name);
    a->connections = 0;
  }
  a->connections++;
  return true;
}

/* ---- life ---- */

static void on_closed(void *data) {
  http_connection *c = data;
  http_server *s = c->loop->server;
  pthread_mutex_lock(&s->mutex);
  http_address *a = find(s, c->address);
  if (a && --a->connections == 0) *a = s->addresses[--s->n_addresses];
  pthread_mutex_unlock(&s->mutex);
  atomic_fetch_sub(&s->open, 1);
  *c->place = c->next;
  if (c->next) c->next->place = c->place;
  free(c);
}

bool http_connection_opened(http_loop *loop, h2o_socket_t *socket) {
  struct sockaddr_storage address;
  char numeric[NI_MAXHOST];
  http_server *s = loop->server;
  http_connection *c = calloc(1, sizeof *c);
  if (!c) return false;
  socklen_t length = h2o_socket_getpeername(socket, (struct sockaddr *)&address);
  size_t n = length ? h2o_socket_getnumerichost((struct sockaddr *)&address, length, numeric) : 0;
  if (n == SIZE_MAX || n >= sizeof c->address) n = 0;
  memcpy(c->address, numeric, n);
  c->loop = loop;
  c->socket = socket;
  c->idle_since = http_now();
  atomic_fetch_add(&s->connections, 1);
  bool room = atomic_fetch_add(&s->open, 1) < s->options.max_connections;
  pthread_mutex_lock(&s->mutex);
  room = room && enter(s, c->address);
  pthread_mutex_unlock(&s->mutex);
  if (!room) {
    atomic_fetch_sub(&s->open, 1);
    atomic_fetch_add(&s->refused, 1);
    free(c);
    return false;
  }
  c->place = &loop->connections;
  c->next = loop->connections;
  if (c->next) c->next->place = &c->next;
  loop->connections = c;
  socket->on_close.cb = on_closed;
  socket->on_close.data = c;
  return true;
}

/* ---- requests ---- */

http_connection *http_connection_request(h2o_req_t *req, char address[48]) {
  h2o_socket_t *socket =
      req->conn->callbacks->get_socket ? req->conn->callbacks->get_socket(req->conn) : NULL;
  http_connection *c = socket && socket->on_close.cb == on_closed ? socket->on_close.data : NULL;
  memcpy(address, c ? c->address : "", c ? strlen(c->address) + 1 : 1);
  if (c) c->pending++;
  return c;
}

static void end(http_connection *c) {
  shutdown(h2o_socket_get_fd(c->socket), SHUT_RDWR);
}

/* A client that opens requests and resets them at once ("rapid reset", CVE-2023-44487) costs a
 * server more than itself. */
void http_connection_done(http_connection *c, bool given_up) {
  c->pending--;
  c->idle_since = http_now();
  if (!given_up) return;
  atomic_fetch_add(&c->loop->server->resets, 1);
  if (++c->resets == c->loop->server->options.max_resets) end(c);
}

/* libh2o's own limit on HTTP/2 starts anew with every byte: one that sends a byte now and then
 * would stay for ever. */
void http_connections_sweep(http_loop *loop, double now) {
  double most = loop->server->options.idle_seconds + 1.0;
  for (http_connection *c = loop->connections; c; c = c->next)
    if (!c->pending && now - c->idle_since > most) end(c);
}
