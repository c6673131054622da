/* Inside server/http: the objects, and what the files share. */
#ifndef SERVER_HTTP_LOOP_H
#define SERVER_HTTP_LOOP_H

#include "http.h"

#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct http_loop http_loop;
typedef struct http_connection http_connection;

/* What is sent to a loop from other threads. */
typedef struct http_message {
  h2o_multithread_message_t super;
  void (*run)(struct http_message *message); /* on the loop; frees the message */
  struct http_loop *loop;
  struct http_message *next; /* of those that are sent together */
} http_message;

struct http_loop {
  http_server *server;
  pthread_t thread;
  h2o_loop_t *loop;
  h2o_context_t context;
  h2o_accept_ctx_t accept;
  h2o_multithread_receiver_t receiver;
  h2o_socket_t *listener;
  http_stream *streams;
  http_connection *connections;
  double swept; /* when connections were looked at last */
  int pending;  /* requests that are being answered, streams apart */
  bool stopping;
  int fd;
};

typedef struct http_address { /* connections of one client */
  char name[48];
  int connections;
} http_address;

struct http_server {
  http_options options;
  h2o_globalconf_t config;
  h2o_hostconf_t *hosts[2];
  int drain_seconds;       /* set before the loops are told to stop */
  int port, n_loops, wake; /* eventfd: a byte for stopping */
  http_loop *loops;
  atomic_bool stop;
  pthread_barrier_t started;
  pthread_mutex_t mutex; /* of addresses and the TLS context */
  http_address *addresses;
  int n_addresses, capacity;
  SSL_CTX *tls;
  atomic_uint_fast64_t connections, requests, resets, refused;
  atomic_int open;
};

struct http_request {
  http_loop *loop;
  http_connection *connection; /* the loop's, as long as req; NULL: not known */
  h2o_req_t *req;              /* NULL once the client has gone; the loop's */
  atomic_int references;       /* h2o's memory pool, and whoever has to answer */
  atomic_bool gone;
  bool detached, answered;
  const char *method, *path, *query;
  char peer[48];
  const void *body;
  size_t body_size;
  char *copies; /* of a detached request: "name\0value\0..." ends with an empty name */
  char *header; /* the last one that was asked for, of one that is not detached */
};

double http_now(void); /* monotonic, seconds */
void http_post(http_loop *loop, http_message *message);
bool http_on_loop(const http_loop *loop);
/* Status, headers; the rest is the caller's. */
void http_set_head(h2o_req_t *req, const http_response *response);
void http_request_release(http_request *request);
/* One block with everything that it points to; free(). NULL: no memory. */
http_response *http_copy_response(const http_response *response);

/* request.c */
int http_on_request(h2o_handler_t *handler, h2o_req_t *req);
/* connection.c, all on the loop: counts it; false: one too many. */
bool http_connection_opened(http_loop *loop, h2o_socket_t *socket);
/* A whole request has come; NULL: not one of ours. */
http_connection *http_connection_request(h2o_req_t *req, char address[48]);
/* And is over: answered, or given up by the client. */
void http_connection_done(http_connection *c, bool given_up);
/* Ends connections on which no request has come to its end for too long. */
void http_connections_sweep(http_loop *loop, double now);

/* stream.c */
http_stream *http_stream_next(const http_stream *stream);

extern _Thread_local http_loop *http_current_loop;

#endif
