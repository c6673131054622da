/* Inside server/http: the objects, and what the files share. */
#ifndef SERVER_HTTP_LOOP_H
#define SERVER_HTTP_LOOP_H

#include "head.h"
#include "http.h"
#include "peers.h"

#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct http_loop http_loop;
typedef struct http_connection http_connection;
typedef struct http_incoming http_incoming;

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
  h2o_timeout_t pause; /* of accepting, when there are no descriptors */
  h2o_timeout_entry_t pause_entry;
  http_stream *streams;
  http_connection *connections;
  double swept; /* when connections were looked at last */
  int pending;  /* requests that are being answered, streams apart */
  bool stopping;
  int fd;
};

/* One client by its address (of IPv6 the network, /64): what all its connections have together. */
typedef struct http_client {
  struct http_client *next; /* in its bucket */
  char name[48];
  int connections;
  size_t held;
} http_client;

enum { HTTP_CLIENT_BUCKETS = 4096 };

enum { HTTP_WRITERS = 4 };

typedef struct http_writers { /* threads that hand bodies on */
  pthread_mutex_t mutex;
  pthread_cond_t some;
  http_incoming *first, **last;
  pthread_t threads[HTTP_WRITERS];
  int n;
  bool stop;
} http_writers;

bool http_writers_start(http_writers *writers);
void http_writers_stop(http_writers *writers);

struct http_server {
  http_options options;
  http_networks proxies;
  http_writers writers;
  h2o_globalconf_t config;
  h2o_hostconf_t *hosts[2];
  int drain_seconds;       /* set before the loops are told to stop */
  int port, n_loops, wake; /* eventfd: a byte for stopping */
  http_loop *loops;
  atomic_bool stop;
  pthread_barrier_t started;
  pthread_mutex_t mutex; /* of clients and the TLS context */
  http_client *clients[HTTP_CLIENT_BUCKETS];
  SSL_CTX *tls;
  char spool[4096]; /* template of files for bodies */
  /* The mutex's: bytes that connections hold, their peak since memory was given back to the system,
   * when that was, and how many connections have closed, now and then. */
  size_t held, peak;
  double given_back;
  bool once_more;
  uint64_t closed, closed_then;
  atomic_uint_fast64_t connections, requests, resets, refused, rejected, ended;
  atomic_int open;
};

/* ---- a connection ---- */

/* What the callbacks of http_options get: texts as http_method() and http_path() have them. */
typedef struct http_call {
  const char *method, *path, *authorization, *cookie;
  char *block; /* NULL: they lie in `small` */
  char small[256];
} http_call;

typedef enum http1_state {
  HTTP1_HEAD,   /* the head of a request is awaited; libh2o has seen nothing of it */
  HTTP1_BODY,   /* libh2o has the head and gets the body as it comes */
  HTTP1_STREAM, /* the body is handed on; libh2o has seen nothing of the request */
  HTTP1_ANSWER, /* libh2o has the whole request; reading rests */
  HTTP1_REFUSED /* an answer without libh2o is on its way, what comes is thrown away */
} http1_state;

/* What stands between the socket and libh2o; see http1.c. */
typedef struct http1 {
  http1_state state;
  http_head head;     /* its texts: valid while it is checked */
  http_chunks chunks; /* of a chunked body */
  size_t scanned;     /* of a head that has not come whole */
  size_t seen;        /* bytes of the socket's input that have been looked at */
  size_t n_head;
  bool whole, asked; /* the body is here; the callbacks have been asked about it */
  size_t limit;      /* of the body */
  http_call call;    /* for the callbacks, once the head has gone */
  char *rest;        /* what came behind the request */
  size_t n_rest;
  char *refusal;
  http_incoming *body; /* of HTTP1_STREAM */
  char *kept;          /* its head, as libh2o will see it: without a body */
  uint64_t left;       /* bytes of the body that have not come */
  bool expects, continuing;
} http1;

enum { HTTP2_REFUSED = 16 };

/* See http2.c. */
typedef struct http2 {
  h2o_http2_conn_t *connection;
  ssize_t (*expect)(h2o_http2_conn_t *connection, const uint8_t *bytes, size_t size,
                    const char **problem); /* libh2o's */
  bool greeted;
  size_t block;       /* bytes of a header block that is not complete */
  uint64_t noise;     /* frames that do nothing for a request */
  size_t grown;       /* bytes held since they were counted */
  size_t thrown_away; /* bytes of bodies that nobody wanted */
  const char *end;    /* why it is being ended */
  int status;         /* of the refusal that the next request gets, with its sentence */
  const char *problem;
  struct {
    uint32_t stream;
    bool told;
  } refused[HTTP2_REFUSED]; /* the last ones; what they still send is thrown away */
  int n_refused;
  http_incoming *bodies; /* that are handed on */
  bool paused;           /* not read, as one of them is not taken fast enough */
} http2;

struct http_connection {
  http_connection *next, **place; /* in the loop's list */
  http_loop *loop;
  h2o_socket_t *socket;
  SSL_CTX *tls; /* a reference, as the socket has none until its first bytes come */
  http_client *client;
  char address[48];
  bool is_proxy; /* a trusted one: its requests say whose they are */
  bool *gone;    /* set when the connection is freed during a call of libh2o */
  void (*send)(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bytes, size_t n,
               h2o_send_state_t state); /* libh2o's, behind ours */
  h2o_socket_cb read, write;            /* libh2o's, behind ours */
  h2o_timeout_entry_t again;            /* what came behind a request gets its turn */
  int resets, pending;                  /* pending: requests that are being answered */
  uint64_t requests;
  size_t held;   /* bytes, as they have been counted */
  size_t unsent; /* of them, of answers that the client has not taken */
  double opened, idle_since;
  uint64_t received, received_then; /* bytes of bodies: in all, and when time was bought */
  double blocked_since;             /* 0: the client takes what it gets */
  uint64_t taken;                   /* bytes that its system had acknowledged then */
  double end_at;                    /* 0: no such plan */
  http_request *early;              /* whose body has been handed on, for http_on_request() */
  http1 one;
  http2 two;
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
  char *copies;         /* of a detached request: "name\0value\0..." ends with an empty name */
  char *header;         /* the last one that was asked for, of one that is not detached */
  h2o_buffer_t *buffer; /* with the body, once it is this request's */
  http_client *client;  /* whom a proxy has named; NULL: the connection's */
  void *object;         /* of http_body_functions */
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

/* As `copies` of a request; free(). NULL: no memory. */
char *http_copy_fields(const h2o_req_t *req);
/* A request before libh2o has it, for a body that is handed on. One reference. fields: as `copies`,
 * and the request's from here on. target: as sent. NULL: no memory, `fields` has been freed. */
http_request *http_request_early(http_connection *c, http_text method, http_text target,
                                 char *fields);

/* client.c: the same name, but for its case; b is in small letters. */
bool http_same_name(const char *a, size_t n, const char *b);
/* Makes r->peer the client whom the proxy has named. False: it has said two things. */
bool http_find_client(http_request *r);
enum { HTTP_MOST_VALUES = 16 };
/* Values of a field of the request, in their order, of which the last count. Returns how many. */
int http_values_of(const http_request *r, const char *name, http_text values[HTTP_MOST_VALUES]);
/* And counts the request as that client's. NULL, or why not, with the status of the refusal. */
const char *http_check_client(http_request *r, int *status);

/* shape.c: the answer as the request wants it, which is `response` or lies in `shaped`. */
enum { HTTP_SHAPED_FIELDS = 32 };
typedef struct http_shaped {
  http_response response;
  http_field fields[HTTP_SHAPED_FIELDS];
  char tag[256];
  void *packed; /* free() */
} http_shaped;
const http_response *http_shape(const http_request *r, const http_response *response,
                                http_shaped *shaped);
/* The client has what the entity tag of the answer stands for. */
bool http_is_unchanged(const http_request *r, const http_response *response);
/* Which bytes of a file are wanted. */
typedef enum http_range { HTTP_RANGE_NONE, HTTP_RANGE_PART, HTTP_RANGE_BEYOND } http_range;
http_range http_find_range(const http_request *r, const http_response *response, int64_t size,
                           int64_t *first, int64_t *last);

/* problem.c: the one form that errors of this folder have. Returns the size of the text. */
size_t http_problem(char *text, size_t size, int status, const char *sentence);
extern const char http_problem_type[];

/* connection.c, all on the loop: counts it; NULL: one too many. */
http_connection *http_connection_opened(http_loop *loop, h2o_socket_t *socket);
/* A whole request has come; NULL: not one of ours. */
http_connection *http_connection_request(h2o_req_t *req, char address[48]);
/* And is over: answered, or given up by the client. */
void http_connection_done(http_connection *c, bool given_up);
/* One more of a client whom a proxy has named, and one less; NULL: it has too many. */
http_client *http_client_enter(http_server *server, const char *address);
void http_client_leave(http_server *server, http_client *client);
/* How many bytes it holds for its client now. False: that is more than the client may hold. */
bool http_connection_holds(http_connection *c, size_t bytes);
/* Bytes of a request that is no connection's any more. Any thread. */
void http_server_holds_more(http_server *server, size_t bytes);
void http_server_holds_less(http_server *server, size_t bytes);
/* Counts the ends of connections, and tells of them at most once a second. */
void http_connection_note_end(http_connection *c, const char *reason);
/* Notes it, and ends it at once. */
void http_connection_end(http_connection *c, const char *reason);
/* Ends connections on which no request has come to its end for too long, and those whose clients
 * take nothing; gives memory back. */
void http_connections_sweep(http_loop *loop, double now);

/* acknowledged.c: bytes that the peer's system has acknowledged. */
uint64_t http_acknowledged(int fd);

enum { HTTP_UNASKED = 64 << 10 }; /* bytes of a body that are taken from anybody */

/* limit.c: what may be sent. 0, or a status. */
int http_may_send(http_server *server, const http_call *call, const char **problem);
size_t http_body_limit(http_server *server, const http_call *call);
bool http_wants_stream(http_server *server, const http_call *call);
/* What says whose request it is; bytes are NULL where there is none. */
typedef struct http_credentials {
  http_text authorization, cookie;
} http_credentials;
/* False: no memory. */
bool http_call_make(http_call *call, http_text method, http_text target,
                    const http_credentials *credentials);
void http_call_free(http_call *call);

/* accept.c */
void http_accept(http_connection *c);

/* http1.c */
void http1_start(http_connection *c);
/* Before an answer: from here on the end of it is noticed. */
void http1_answering(http_connection *c, h2o_req_t *req);
void http1_free(http_connection *c);

/* http2.c */
void http2_start(http_connection *c);
void http2_answering(http_connection *c, h2o_req_t *req);
size_t http2_held(http_connection *c);
/* Something waits until the client takes it. */
bool http2_is_blocked(http_connection *c);
/* libh2o's connection is there, and may be looked at. */
bool http2_is_alive(const http_connection *c);
/* The request whose body has been handed on, when this is it; with a reference for libh2o and one
 * for the handler. NULL: it is another one. */
http_request *http2_take_early(http_connection *c, h2o_req_t *req);
void http2_free(http_connection *c);

/* stream.c */
http_stream *http_stream_next(const http_stream *stream);

extern _Thread_local http_loop *http_current_loop;

#endif
