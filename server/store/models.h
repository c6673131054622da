/* Model descriptions. */
#ifndef SERVER_STORE_MODELS_H
#define SERVER_STORE_MODELS_H

#include "store.h"

/* Rows: id, owner, owner_name, name, description (a text), public, created, changed, version, used
 * (a session waits or runs, or it has weights: the description cannot change any more),
 * max_batch_size, max_queue_delay_microseconds, max_queue_size. */
json_t *models_list(store *s, int64_t owner, bool all);
json_t *model_find(store *s, int64_t id, bool *found);
/* The description of one's own model: description. */
json_t *model_description(store *s, int64_t id, int64_t owner, bool *found);

int64_t model_add(store *s, int64_t owner, const char *name, const char *description, int64_t now);
enum {
  MODEL_IS_STATIC = -3, /* the description of one that is used cannot change */
  MODEL_NAME_TAKEN = -4 /* another one's public model has this name, or one that looks like it */
};
/* As store_update(); `changes` gets the time, too. */
int64_t model_change(store *s, int64_t id, int64_t version, json_t *changes, int64_t now);
/* 0: a session of it waits or runs. */
int64_t model_delete(store *s, int64_t id);

/* What answers to a name: one's own model first, then the public one; of the newest weights, or of
 * those with the id `version` (0: any): id (of the weights), session, owner, batch, delay, queue
 * (NULL: defaults). */
json_t *model_target(store *s, const char *name, int64_t user, int64_t version, bool *found);
/* All that the user may predict with: name, id (of the weights). */
json_t *model_targets(store *s, int64_t user);

#endif
