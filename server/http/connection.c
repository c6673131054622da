/* Limits on connections: how many in all and of one address, and how many requests one may give up.
 */
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef struct connection {
  http_server *server;
  char address[48];
  int resets;
} connection;

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

static void on_closed(void *data) {
  connection *c = data;
  http_server *s = c->server;
  pthread_mutex_lock(&s->mutex);
  http_address *a = find(s, c->address);
  if (a && --a->connections == 0) *a = s->addresses[--s->n_addresses];
  pthread_mutex_unlock(&s->mutex);
  atomic_fetch_sub(&s->open, 1);
  free(c);
}

bool http_connection_opened(http_server *s, h2o_socket_t *socket) {
  struct sockaddr_storage address;
  char numeric[NI_MAXHOST];
  connection *c = calloc(1, sizeof *c);
  if (!c) return false;
  socklen_t length = h2o_socket_getpeername(socket, (struct sockaddr *)&address);
  size_t n = length ? h2o_socket_getnumerichost((struct sockaddr *)&address, length, numeric) : 0;
  if (n == SIZE_MAX || n >= sizeof c->address) n = 0;
  memcpy(c->address, numeric, n);
  c->server = s;
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
  socket->on_close.cb = on_closed;
  socket->on_close.data = c;
  return true;
}

static connection *connection_of(h2o_req_t *req, h2o_socket_t **socket) {
  *socket = req->conn->callbacks->get_socket ? req->conn->callbacks->get_socket(req->conn) : NULL;
  return *socket && (*socket)->on_close.cb == on_closed ? (*socket)->on_close.data : NULL;
}

void http_connection_address(h2o_req_t *req, char address[48]) {
  h2o_socket_t *socket;
  const connection *c = connection_of(req, &socket);
  memcpy(address, c ? c->address : "", c ? strlen(c->address) + 1 : 1);
}

/* A client that opens requests and resets them at once ("rapid reset", CVE-2023-44487) costs a
 * server more than itself. */
void http_connection_reset(http_server *s, h2o_req_t *req) {
  h2o_socket_t *socket;
  connection *c = connection_of(req, &socket);
  atomic_fetch_add(&s->resets, 1);
  if (!c) return;
  if (++c->resets == s->options.max_resets) shutdown(h2o_socket_get_fd(socket), SHUT_RDWR);
}
