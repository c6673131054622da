/* The API: resources as tables of routes. A route declares who may call it, what it takes, how much
 * of it, and where it runs; the router checks all that before the handler runs, and /openapi.json
 * is made from the same tables. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "backup/backup.h"
#include "context/context.h"
#include "context/lane.h"
#include "devices/history.h"
#include "devices/monitor.h"
#include "http/http.h"
#include "jobs/curve.h"
#include "jobs/inspect.h"
#include "jobs/jobs.h"
#include "jobs/tool.h"
#include "predict/serve.h"
#include "security/secrets.h"
#include "security/throttle.h"
#include "shape.h"
#include "store/cache.h"

#include <jansson.h>

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
  API_ID,
  API_TEXTS /* a list of different texts */
} api_type;

enum {
  API_RAW = 1,          /* the body is not JSON: the handler reads it */
  API_INLINE = 2,       /* runs on the event loop: must not block */
  API_TOOL = 4,         /* starts a process and waits for it: runs in that lane */
  API_PASSWORD = 8,     /* computes a password's hash: runs in that lane */
  API_LARGE = 16,       /* the body may have API_LARGE_BODY bytes, else API_SMALL_BODY */
  API_ESSENTIAL = 32,   /* works on a full disk */
  API_ENDLESS = 64,     /* the body is handed on while it comes, and may have any size */
  API_IDEMPOTENT = 128, /* takes an Idempotency-Key; not with INLINE, ENDLESS or try_fast */
  API_TICKET = 256      /* a download, for which a ticket does; not with INLINE or try_fast */
};

enum { API_SMALL_BODY = 64 << 10, API_LARGE_BODY = 16 << 20 };

/* A member of the body, or a parameter of the query. TEXT, SECRET: least and most are lengths in
 * bytes; NAME: see name_problem(); INTEGER, NUMBER: values; TEXTS: how many there are. */
typedef struct api_field {
  const char *name;
  api_type type;
  bool required, in_query;
  double least, most;
  const char *about;
  const char *const *choices; /* TEXT, TEXTS: (each) one of these, ending with NULL; or NULL */
} api_field;

typedef struct api_call api_call;

typedef struct api_route {
  const char *id; /* the operation's name in the OpenAPI document; unique */
  /* "{id}" stands for a whole number, "{key}" for up to 64 letters, digits, "-" and "_",
   * "{name}" for up to 100 bytes without "/"; any other word, "{token}", for a number, too. */
  const char *method, *path;
  api_right right;
  const char *about;
  const api_field *fields;     /* ends with a name of NULL; NULL: takes nothing */
  void (*run)(api_call *call); /* on a thread; answers the call */
  int how;                     /* 0, or of the above */
  /* Is tried on the event loop first, by what is known already: must not block. False: not
   * answered, and as it was before. NULL: there is none. */
  bool (*try_fast)(api_call *call);
  const answer_shape *answer; /* of success; NULL: it has no JSON */
  const char *content;        /* its content type then; NULL: nothing at all (204) */
} api_route;

typedef struct api_resource {
  const char *name, *about;
  const api_route *routes; /* ends with a method of NULL */
} api_resource;

/* An event and its data. */
typedef struct api_event {
  const char *kind, *about;
  const answer_shape *data;
} api_event;

extern const api_event api_event_kinds[]; /* ends with a kind of NULL */
extern const char *const api_session_states[];
extern const answer_shape api_model_shape, api_dataset_shape, api_session_shape, api_weights_shape,
    api_upload_shape, api_me_shape, api_settings_shape;
extern const answer_shape api_problem_shape, api_protocol_error_shape, api_device_shape,
    api_devices_shape;

extern const api_resource *const api_resources[]; /* ends with NULL */
extern const api_resource api_auth, api_users, api_datasets, api_uploads, api_models, api_sessions,
    api_weights, api_predict, api_inference, api_tensorflow, api_devices, api_history, api_events,
    api_settings, api_backups, api_system, api_state, api_check, api_tokens, api_account,
    api_evaluations, api_tickets;

/* ---- the program ---- */

typedef struct api {
  context context;
  token_key *key;
  throttle *throttle;
  cache *cache;
  tools *tools;
  inspections *inspections;
  monitor *monitor;
  device_history *history;
  jobs *jobs;
  curves *curves;
  serve_pool *serving;
  http_server *server;
  const char *address;        /* "http://127.0.0.1:8080" */
  const char *allowed_origin; /* CORS; NULL: none */
  int64_t started;            /* Unix seconds */
  struct api_backups *backups;
  struct api_workers *workers;
  struct api_keeper *keeper;
  struct api_checker *checker;
  struct api_downloads *downloads;
  struct api_tickets *tickets;
  char *document; /* of OpenAPI; NULL: nobody has asked yet */
  struct api_waits *waits;
} api;

bool api_start(api *a);
void api_stop(api *a);
/* For http_options; user is the api. */
void api_handle(http_request *request, void *user);
size_t api_body_limit(const char *method, const char *path, void *user);
int api_may_send(const char *method, const char *path, const char *authorization,
                 const char *cookie, void *user);

/* ---- a call ---- */

typedef struct api_user {
  int64_t id, login, generation, expires; /* expires: of the token or the cookie */
  /* Of an API token: its id, 0 with a log-in, which is 0 with a token. used: when its use, or that
   * of a cookie, was noted. */
  int64_t token, used;
  char name[64];
  bool admin; /* and the token, if it is one, has the scope */
  bool node, service;
  bool cookie;          /* of a log-in by cookie */
  unsigned char scopes; /* of an API token, with all that they include */
} api_user;

enum { API_MAX_IDS = 2, API_MAX_EXTRA = 8 };

struct api_call {
  lane_task task; /* first */
  api *api;
  store *store; /* the api's */
  http_request *request;
  const api_route *route;
  api_user user; /* id 0: nobody */
  bool knows_user;
  bool may_be_kept; /* the answer, by its client, who asks whether it still counts */
  bool waited;      /* was kept by api_wait(), and runs once more */
  int64_t ids[API_MAX_IDS];
  char key[65], name[101];
  int n_extra; /* headers of the answer; static text, or kept until it */
  http_field extra[API_MAX_EXTRA];
  char extra_text[640]; /* of them all */
  size_t extra_size;
  json_t *input; /* the checked fields of body and query; NULL: there are none */
  double began;
  int status;                          /* of the answer */
  const char *refusal;                 /* for the log */
  struct api_idempotency *idempotency; /* NULL: the request has no key */
};

/* Exactly one of these ends a call. `json` is the call's from here on, and is written by the shape
 * of the route's answer. */
void api_reply(api_call *call, int status, json_t *json);
void api_reply_empty(api_call *call);
/* {key: rows}, each as `present` makes it (NULL: by its shape); rows NULL: the store has failed. */
/* For what seldom changes: names the state of the answer, so that a client may keep it and ask
 * (ETag, If-None-Match). True: the client has it; answered (304). */
bool api_is_known(api_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Of a list only what the query wants: see api_page_fields. */
void api_reply_page(api_call *call, const char *key, json_t *rows);
void api_reply_rows(api_call *call, const char *key, json_t *rows, json_t *(*present)(json_t *row));
void api_reply_bytes(api_call *call, int status, const char *content_type, const void *bytes,
                     size_t size);
/* An answer from a file, from its beginning; the descriptor is the call's from here on. */
void api_reply_file(api_call *call, int fd, int64_t size, const char *content_type);
/* The same from a path, as something to keep under `name`; 410 where the file is gone. */
void api_reply_download(api_call *call, const char *path, const char *content_type,
                        const char *name);
/* Begins an answer without an end; NULL: the call has ended. See http_stream_start(). */
http_stream *api_reply_stream(api_call *call, size_t most, void (*closed)(void *user), void *user);

/* A problem document (RFC 9457) with one sentence; the inference protocols have a form of their
 * own, {"error": sentence}. */
void api_fail(api_call *call, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with everything that is wrong: [{"path", "text", "cure"}], see api_problem_shape; the
 * call's from here on. */
void api_fail_with(api_call *call, int status, json_t *errors, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* 400 for a member of the body, or a parameter of the query. */
void api_fail_field(api_call *call, const api_field *f, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The store's failure: 500, 507 when the disk is full, 503 when it is busy; details go to the log.
 */
void api_fail_store(api_call *call);
/* What tool_run() has not done. */
void api_fail_tool(api_call *call, tool_outcome outcome, const char *error);
/* tool_run() where it prints JSON; NULL: the call has been answered. */
json_t *api_tool_json(api_call *call, const tool_request *request);

/* Before the answer: one more header. name is static. */
void api_add_header(api_call *call, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 412 where the client has seen another version of the row than this (If-Match). False: answered.
 */
bool api_check_version(api_call *call, const json_t *row);
/* Whether If-Match allows for this version: it is that one, "*", or not there. */
bool api_is_version(const api_call *call, int64_t version);
void api_fail_version(api_call *call);
/* ETag of a row that the answer shows. */
void api_add_version(api_call *call, const json_t *row);

/* Checked fields; the defaults where a field is absent. */
const char *api_text(const api_call *call, const char *name);
int64_t api_integer(const api_call *call, const char *name, int64_t absent);
bool api_boolean(const api_call *call, const char *name, bool absent);

/* Whose row it is: the caller's, or the caller is an administrator. */
bool api_may_change(const api_call *call, const json_t *row);

/* ---- the log (access_log.c) ---- */

/* Something that the call has done: to what (NULL: its path says it), and how it ended. Never a
 * secret. */
void api_log(const char *event, const api_call *call, int64_t user, const char *object,
             const char *outcome);
/* Who changed what of a row to what: one line with the members of `changes`, before and after. */
void api_log_change(const char *event, const api_call *call, const json_t *before,
                    const json_t *changes);
/* Its line of the access log; when the answer's status is known. */
void api_log_call(const api_call *call);

/* ---- lists ---- */

/* What every list of rows with an id takes; ends with a name of NULL. */
extern const api_field api_page_fields[];
/* The rows of the page, and the cursor that leads to the next (null: this was the last): {key,
 * next}. Takes the rows. */
json_t *api_page(const api_call *call, const char *key, json_t *rows);

/* What the first view of a page needs of each resource; NULL: the store has failed. */
json_t *api_rows_of_models(api_call *call);
json_t *api_rows_of_uploads(api_call *call);
json_t *api_all_settings(store *s);
json_t *api_me(const api_user *user);

/* ---- API tokens: "webml_" and a secret (scopes.c) ---- */

#define API_TOKEN_PREFIX "webml_"
enum { API_TOKEN_TEXT = sizeof API_TOKEN_PREFIX - 1 + SECRET_TEXT };

/* In the order of api_scope_names. */
enum {
  API_SCOPE_READ = 1,    /* GET and HEAD */
  API_SCOPE_PREDICT = 2, /* the inference protocols */
  API_SCOPE_WRITE = 4,   /* includes the two before */
  API_SCOPE_ADMIN = 8    /* includes all */
};
extern const char *const api_scope_names[]; /* ends with NULL */

/* The scopes of which each suffices for the route; 0: no token may. By the route's method and
 * right: routes for administrators need admin, others read for GET and HEAD, and write for all
 * else. A table of exceptions comes first: the inference protocols need predict (their GETs are
 * satisfied by read, too), and log-ins, passwords and tokens are out of reach of any token. */
int api_scopes_of(const api_route *r);
/* Names with blanks between them, as the store has them -> the scopes and all that they include.
 * admin false: the account is not, or no longer, an administrator's, and that scope counts nothing.
 */
int api_scopes_read(const char *text, bool admin);
/* A list of names. */
json_t *api_scopes_json(int scopes);
/* False: the call's token may not; answered with 403. */
bool api_check_scope(api_call *call);

/* ---- inside the router ---- */

/* routes.c: by method (NULL: any) and path; fills in the call's ids, key and name. */
const api_route *api_find_route(const char *method, const char *path, api_call *call);
/* "GET, POST": the methods of a path. */
void api_allowed_methods(const char *path, char *out, size_t size);

/* authenticate.c */
typedef enum api_verdict {
  API_PASSED,
  API_REFUSED, /* the call has been answered */
  API_UNKNOWN  /* only reading the store can tell */
} api_verdict;
api_verdict api_authenticate(api_call *call, bool on_loop);
/* The account of a request. False with a refusal. Blocks for the store. */
bool api_user_of(api *a, const http_request *r, api_user *user, http_refusal *refusal);
/* Of what takes long: whether the log-in or the token, and the role that it was begun with, still
 * stand. Blocks for the store. */
bool api_may_go_on(const api *a, const api_user *user, int64_t now);
/* Bytes that a body may have. */
size_t api_most_body(const api_route *r);

/* cookie.c: log-ins by cookie. */
#define API_COOKIE "__Host-webml"
/* A log-in by cookie ends when it has not been used for so long. */
enum { API_COOKIE_SECONDS = 30 * 86400 };
/* The cookie's secret; false: there is none, or it has not come over TLS. */
bool api_cookie_of(const http_request *r, char secret[SECRET_TEXT]);
/* Whether the text of a Cookie field has such a secret. */
bool api_has_cookie(const char *field);
/* Whether a cookie counts for the request: it comes from a page of this server, or only reads and
 * comes from a person or a program. */
bool api_is_same_origin(const http_request *r);
/* Whether a log-in or a registration has asked for a cookie. False: it may not have one;
 * answered. */
bool api_wants_cookie(api_call *call, bool *wants);
void api_set_cookie(api_call *call, const char *secret);
/* When the call's log-in has ended: the browser forgets its cookie. */
void api_clear_cookie(api_call *call);

/* idempotency.c: how long the answer to an Idempotency-Key is kept. */
enum { API_KEY_SECONDS = 86400 };
/* Before the handler of a call, on a thread: takes the key of an API_IDEMPOTENT route. False: the
 * call has been answered, as the first request with the key was, or with a refusal. */
bool api_idempotency_begin(api_call *call);
/* Before an answer is sent: keeps it, or gives the key back where the request was refused for the
 * moment (429, 5xx). */
void api_idempotency_keep(api_call *call, int status, const char *type, const void *body,
                          size_t size);
/* When the call ends: a key without an answer may be used again. */
void api_idempotency_end(api_call *call);

/* fields.c: checks the body and query of the call; false: it has been answered. */
bool api_check_fields(api_call *call);
/* How many values a JSON text has, at most: known before any is built. */
size_t api_count_values(const char *json, size_t size);
/* openapi.c */
json_t *api_openapi(const api *a);

/* workers.c: runs the call's route on a thread of its lane, or answers that there is no room. */
bool api_workers_start(api *a);
void api_workers_stop(api *a);
void api_queue(api_call *call);
/* Runs a call once more that was on such a thread already. */
void api_requeue(api_call *call);

/* waits.c: calls that wait for a session; see waits.h. stop: answers them; free: when no call runs
 * any more. */
bool api_waits_start(api *a);
void api_waits_stop(api *a);
void api_waits_free(api *a);

/* keeper.c: a thread that does every second what time demands. */
bool api_keeper_start(api *a);
void api_keeper_stop(api *a);
/* Much memory was given back to the allocator just now: it goes back to the system soon. */
void api_keeper_trim(api *a);

/* settings.c: before the first call. */
void api_settings_prepare(void);

/* check.c */
bool api_checker_start(api *a);
void api_checker_stop(api *a);

/* backups.c */
bool api_backups_start(api *a);
void api_backups_stop(api *a);

/* events.c: before the first event. */
void api_events_prepare(api *a);
/* Ends streams whose log-in is over; sends a comment to the others now and then. */
void api_events_tend(api *a, int64_t now);

/* reply.c: frees what belongs to a call that was answered otherwise. */
void api_forget(api_call *call);

#endif
