#include "target.h"

#include "store/models.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct target_key {
  int64_t user, version;
  char name[sizeof(((api_call *)0)->name)];
} target_key;

static size_t key_of(const api_call *call, target_key *key) {
  size_t n = strlen(call->name);
  *key = (target_key){.user = call->user.id, .version = call->ids[0]};
  memcpy(key->name, call->name, n);
  return offsetof(target_key, name) + n;
}

bool target_known(api_call *call, target *t) {
  target_key key;
  size_t n = key_of(call, &key);
  _Static_assert(sizeof *t <= CACHE_BYTES, "it is kept in the table of what is known");
  return cache_find(call->api->cache, 't', &key, n, t, sizeof *t);
}

static int64_t integer_or(const json_t *row, const char *column, int64_t otherwise) {
  const json_t *value = json_object_get(row, column);
  return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

bool target_find(api_call *call, target *t) {
  target_key key;
  bool found;
  if (target_known(call, t)) return true;
  uint64_t version = store_version(call->store);
  json_t *row = model_target(call->store, call->name, call->user.id, call->ids[0], &found);
  if (!row && found)
    api_fail_store(call);
  else if (!row)
    api_fail(call, 404, "there is no model \"%s\"%s with weights that you may use", call->name,
             call->ids[0] ? " of this version" : "");
  if (!row) return false;
  *t = (target){.weights = store_integer(row, "id"),
                .session = store_integer(row, "session"),
                .owner = store_integer(row, "owner"),
                .batching = {.max_batch_size = (int)integer_or(row, "batch", SERVE_MOST_BATCH),
                             .max_queue_delay_microseconds = integer_or(row, "delay", 0),
                             .max_queue_size = (int)integer_or(row, "queue", SERVE_QUEUE)}};
  snprintf(t->version, sizeof t->version, "%lld", (long long)t->weights);
  json_decref(row);
  cache_keep(call->api->cache, 't', &key, key_of(call, &key), t, sizeof *t, version);
  return true;
}

served *target_open(api_call *call, target *t) {
  char error[1024], path[CONTEXT_PATH];
  if (!target_find(call, t)) return NULL;
  path_of_job(&call->api->context, t->session, "weights.safetensors", path, sizeof path);
  served *s =
      serve_acquire(call->api->serving, t->weights, path, &t->batching, error, sizeof error);
  if (!s) api_fail(call, 503, "%s", error);
  return s;
}
