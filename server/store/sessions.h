/* Sessions, which train a model or evaluate weights, and the weights that come of them. */
#ifndef SERVER_STORE_SESSIONS_H
#define SERVER_STORE_SESSIONS_H

#include "store.h"

/* Rows: id, owner, owner_name, kind (training, evaluation), evaluates (weights; null: none), model,
 * model_name, dataset (null: it was deleted), dataset_name, device, placed, waits_for, need_cpu,
 * need_gpu, parameters (a JSON text), state (waiting, running, paused, finished, failed,
 * cancelled), error, created, started, ended, weights (their id). */
json_t *sessions_list(store *s, int64_t owner, bool all, int most);
/* Those that evaluate the weights. */
json_t *sessions_evaluating(store *s, int64_t weights);
json_t *session_find(store *s, int64_t id, int64_t user, bool all, bool *found);
/* What an evaluation has found, JSON; NULL: nothing yet, or it is a training. */
json_t *session_report(store *s, int64_t id);
int64_t session_set_report(store *s, int64_t id, const char *report);
/* Whether it is there and in that state; true also where the store cannot be read just now. */
bool session_is_in_state(store *s, int64_t id, const char *state);
/* Deletes one that is over; its weights stay. 0: it waits or runs. */
int64_t session_delete(store *s, int64_t id);
/* Whether it, or weights of it, are there: its folder must stay. */
bool session_is_needed(store *s, int64_t id);

typedef struct session_new {
  int64_t owner, model, dataset;
  int64_t evaluates; /* weights; 0: it is a training */
  const char *device, *parameters;
  int64_t need_cpu, need_gpu, created;
  bool paused; /* it does not start before session_resume() */
  /* The limits of one who has any; 0: none. */
  int64_t most_sessions, most_weights;
} session_new;

enum {
  SESSION_TOO_MANY = -3,         /* the owner's that wait or run */
  SESSION_TOO_MANY_WEIGHTS = -4, /* of the model, those to come included */
  SESSION_NO_MODEL = -5,         /* the model is gone, or somebody else's */
  SESSION_NO_DATASET = -6        /* the data set is gone, not ready, or somebody else's */
};

/* Whether it may be added: 1, or one of these. */
int64_t session_check(store *s, const session_new *n);
/* The new session's id; checked in the same transaction. */
int64_t session_add(store *s, const session_new *n);
/* What its owner wishes: "cancel", "stop" (and keep the best weights) or "pause". 0: it is over
 * already, or, but for "cancel", it does not run or is an evaluation. */
int64_t session_wish(store *s, int64_t id, const char *wish);
/* One that is paused waits again. 0: it is not. */
int64_t session_resume(store *s, int64_t id);
/* Those of accounts that are closed are wished to be cancelled, where they wait. */
int64_t sessions_cancel_of(store *s, int64_t owner);

/* ---- for the queue ---- */

/* Rows: id, owner, evaluates, model, dataset, device, placed, waits_for, need_cpu, need_gpu,
 * parameters, precision, description, file. Those that wait: everybody's first, beginning behind
 * the user whose turn it was last, then everybody's second, ... */
json_t *sessions_waiting(store *s, int64_t last_owner);
json_t *sessions_running(store *s);
/* Cancels those that wait and were wished to be; those rows: id, owner. */
json_t *sessions_cancel_waiting(store *s);
/* Those that wait and whose data set is gone have failed; those rows: id, owner. */
json_t *sessions_fail_orphans(store *s, const char *error, int64_t now);
/* The wish, or NULL; "cancel" where the session is gone. Static text. */
const char *session_wish_of(store *s, int64_t id);
/* How often it was started. */
int64_t session_tries(store *s, int64_t id, bool *gone);

int64_t session_set_running(store *s, int64_t id, const char *placed, int64_t now);
int64_t session_set_waiting(store *s, int64_t id);
int64_t session_set_paused(store *s, int64_t id);
int64_t session_set_waits_for(store *s, int64_t id, const char *why);
int64_t session_set_ended(store *s, int64_t id, const char *state, const char *error, int64_t now);

/* ---- weights ---- */

/* id, owner, owner_name, model, model_name, session, bytes, metrics (a JSON text), created. */
json_t *weights_list(store *s, int64_t owner, bool all);
json_t *weights_find(store *s, int64_t id, int64_t user, bool all, bool *found);
/* Those that the user may predict with: session. */
json_t *weights_target(store *s, int64_t id, int64_t user, bool *found);
/* The public name of the model; NULL: it is not public. name. */
json_t *weights_public_name(store *s, int64_t id);
int64_t weights_add(store *s, int64_t owner, int64_t model, int64_t session, int64_t bytes,
                    const char *metrics, int64_t now);
int64_t weights_delete(store *s, int64_t id);
/* Ids of all: for those that are loaded and whose row is gone. */
bool weights_exist(store *s, int64_t id);
/* The data set that the session was trained with, where the user may see it: id, properties. */
json_t *session_dataset(store *s, int64_t session, int64_t user, bool *found);

#endif
