/* The API: resources as tables of routes. A route declares who may call it and what it takes; the
 * router checks both before the handler runs, and /openapi.json is made from the same tables. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "http/http.h"
#include "security/secrets.h"
#include "store/store.h"

#include <jansson.h>
#include <pthread.h>

/* ---- declarations ---- */

typedef enum api_right {
  API_ANYONE,   /* no token is looked at */
  API_OPTIONAL, /* with a token an account, without one nobody */
  API_ACCOUNT,  /* any account, those of machines too */
  API_USER,     /* a person's account */
  API_ADMIN
} api_right;

typedef enum api_type {
  API_TEXT,
  API_NAME,
  API_SECRET,
  API_INTEGER,
  API_NUMBER,
  API_BOOLEAN,
  API_OBJECT,
  API_ID
} api_type;

enum {
  API_RAW = 1,    /* the body is not JSON: the handler reads it */
  API_INLINE = 2, /* runs on the event loop: must not block */
  API_FAST = 4    /* is tried on the event loop first, by what is known already, and may put itself
                     off to a thread: api_defer() */
};

/* A member of the body, or a parameter of the query. TEXT, SECRET: least and most are lengths in
 * bytes; NAME: letters, digits and " ._-", no leading or trailing blank or dot; INTEGER, NUMBER:
 * values. */
typedef struct api_field {
  const char *name;
  api_type type;
  bool required, in_query;
  double least, most;
  const char *about;
  const char *const *choices; /* TEXT: one of these, ending with NULL; or NULL */
} api_field;

typedef struct api_call api_call;

typedef struct api_route {
  /* "{id}" stands for a whole number, "{key}" for up to 64 letters, digits, "-" and "_",
   * "{name}" for up to 100 bytes without "/". */
  const char *method, *path;
  api_right right;
  const char *about;
  const api_field *fields; /* ends with a name of NULL; NULL: takes nothing */
  void (*handle)(api_call *call);
  int how; /* 0, or of these */
} api_route;

typedef struct api_resource {
  const char *name, *about;
  const api_route *routes; /* ends with a method of NULL */
} api_resource;

extern const api_resource *const api_resources[]; /* ends with NULL */
extern const api_resource api_auth, api_users, api_datasets, api_uploads, api_models, api_sessions,
    api_weights, api_predict, api_inference, api_devices, api_events, api_settings, api_backups,
    api_system;

/* ---- the program ---- */

typedef struct api api;
struct api {
  store *store;
  token_key *key;
  const char *data_dir, *address; /* "http://127.0.0.1:8080" */
  const char *allowed_origin;     /* CORS; NULL: none */
  int64_t started;
  http_server *server;
  struct api_workers *workers;
  struct api_throttle *throttle;
  struct api_knowledge *knowledge;
  struct event_hub *events;
  struct dataset_looks *looks;
  struct jobs *jobs;
  struct tools *tools;
  struct monitor *monitor;
  struct api_backups *backups;
  struct serve_pool *serving;
};

/* Threads that run handlers; `most` calls may wait. */
bool api_start(api *a, int threads, int most);
void api_stop(api *a);
/* For http_options.handle; user is the api. */
void api_handle(http_request *request, void *user);

/* One line of JSON in the system log: what happened, by whom (0: nobody), to what (NULL: the call's
 * path says it), and how it ended. Never a secret. */
void api_log(const char *event, const api_call *call, int64_t user, const char *object,
             const char *outcome);

/* ---- a call ---- */

typedef struct api_user {
  int64_t id, generation;
  char name[64];
  bool admin, node;
} api_user;

enum { API_MAX_IDS = 2, API_MAX_EXTRA = 6 };

struct api_call {
  api *api;
  http_request *request;
  const api_route *route;
  api_user user; /* id 0: nobody */
  int64_t ids[API_MAX_IDS];
  char key[65], name[101];
  int n_extra; /* headers of the answer; static text, or kept until it */
  http_field extra[API_MAX_EXTRA];
  char extra_text[512]; /* of them all */
  size_t extra_size;
  json_t *input; /* the checked fields of body and query; NULL: there are none */
  bool on_loop;  /* the first try of an API_FAST route: nothing may block */
  double began;
  int status;          /* of the answer */
  const char *refusal; /* for the log */
};

/* Puts a call that is tried on the loop off: its handler is called again, on a thread, where
 * on_loop is false. The call must not be touched any more. */
void api_defer(api_call *call);

/* Exactly one of these ends a call. `json` is the call's from here on. */
void api_reply(api_call *call, int status, json_t *json);
void api_reply_empty(api_call *call);
/* {key: rows}, each as `present` makes it (NULL: as it is); rows NULL: the store has failed. */
void api_reply_rows(api_call *call, const char *key, json_t *rows, json_t *(*present)(json_t *row));
void api_reply_bytes(api_call *call, int status, const char *content_type, const void *bytes,
                     size_t size);
/* Before the answer: one more header. */
void api_add_header(api_call *call, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* An answer from a file, from its beginning; the descriptor is the call's from here on. */
void api_reply_file(api_call *call, int fd, int64_t size, const char *content_type);
/* Headers that every answer has; returns their number. */
int api_fixed_headers(const api_call *call, int status, http_field fields[16]);
/* The same from a path, as something to keep under `name`; 410 where the file is gone. */
void api_reply_download(api_call *call, const char *path, const char *content_type,
                        const char *name);
/* {"error": sentence} */
void api_fail(api_call *call, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The store's or the library's failure: 500, or 507 when the disk is full; details go to the log.
 */
void api_fail_store(api_call *call);

/* Checked fields; the defaults where a field is absent. */
const char *api_text(const api_call *call, const char *name);
int64_t api_integer(const api_call *call, const char *name, int64_t absent);
bool api_boolean(const api_call *call, const char *name, bool absent);

int64_t api_now(void);
/* Paths into the data directory become the name of their file: where the server keeps things is
 * nobody's business. In place. */
void api_hide_paths(const api *a, char *text);

/* ---- what was read from the store, for the loop; it counts until the store changes ---- */

/* kind: one letter per sort of key. False: not known. */
bool api_known(const api *a, char kind, const void *key, size_t n, void *value, size_t size);
/* `version`: store_version() from before the reading. Values have at most API_KNOWN_BYTES, longer
 * keys than API_KNOWN_KEY are not kept. */
enum { API_KNOWN_BYTES = 128, API_KNOWN_KEY = 400 };
void api_know(const api *a, char kind, const void *key, size_t n, const void *value, size_t size,
              uint64_t version);

/* backups.c */
struct api_backups {
  pthread_mutex_t mutex;
  pthread_cond_t done;
  bool busy; /* one is made or put back */
};
bool api_backups_start(api *a);
void api_backups_stop(api *a);

/* ---- inside the router ---- */

/* known.c */
bool api_known_start(api *a);
void api_known_stop(api *a);

/* fields.c: checks the body and query of the call; false: it has been answered. */
bool api_check_fields(api_call *call);
json_t *api_openapi(const api *a);

/* throttle.c: log-ins that failed, per name and address. Seconds to wait; 0: go on. */
int api_throttle_wait(api *a, const char *name, const char *address);
void api_throttle_failed(api *a, const char *name, const char *address);
void api_throttle_passed(api *a, const char *name, const char *address);

#endif
