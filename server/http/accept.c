/* From a socket that was just accepted to its protocol. libh2o would choose by itself; here it is
 * done before its parsers see a byte, so that ours see them first. HTTP/1.1's "Upgrade: h2c" is not
 * offered: RFC 9113 has dropped it, and it leads around the checks. */
#include "loop.h"

#include <string.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void choose(http_connection *c);

static void on_first_bytes(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  if (error)
    h2o_socket_close(socket);
  else
    choose(c);
}

/* Over TLS the client has said what it will speak, or it is HTTP/1.1; else the first bytes tell. */
static void choose(http_connection *c) {
  h2o_socket_t *socket = c->socket;
  size_t most = sizeof preface - 1, n = socket->input->size < most ? socket->input->size : most;
  h2o_iovec_t chosen = {NULL, 0};
  if (socket->ssl) chosen = h2o_socket_ssl_get_selected_protocol(socket);
  if (chosen.len >= 2 && memcmp(chosen.base, "h2", 2) == 0)
    http2_start(c);
  else if (n && memcmp(socket->input->bytes, preface, n) != 0)
    http1_start(c);
  else if (n == most)
    http2_start(c);
  else
    h2o_socket_read_start(socket, on_first_bytes);
}

static void on_handshake(h2o_socket_t *socket, const char *error) {
  http_connection *c = socket->on_close.data;
  if (error)
    h2o_socket_close(socket);
  else
    choose(c);
}

void http_accept(http_connection *c) {
  http_server *s = c->loop->server;
  if (!s->tls) {
    choose(c);
    return;
  }
  pthread_mutex_lock(&s->mutex);
  c->tls = s->tls;
  SSL_CTX_up_ref(c->tls);
  pthread_mutex_unlock(&s->mutex);
  h2o_socket_ssl_handshake(c->socket, c->tls, NULL, on_handshake);
}
