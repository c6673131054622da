#include "inspect.h"

#include "bounds.h"
#include "context/events.h"
#include "context/lane.h"
#include "context/log.h"
#include "last_error.h"
#include "store/datasets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One more at once than an account may have: somebody else's never waits for a whole file. */
enum {
  AT_ONCE = 3,
  AT_ONCE_PER_ACCOUNT = 2,
  MOST = 100000,
  MOST_PER_ACCOUNT = 1000,
  MOST_PROPERTIES = 64 << 20
};

struct inspections {
  const context *context;
  tools *tools;
  lane *lane;
};

typedef struct inspection {
  lane_task task; /* first */
  inspections *of;
  int64_t dataset, owner;
  char name[128], file[64];
} inspection;

/* What a program has written that may be in somebody else's hands: not larger than any inspection
 * makes it. */
static json_t *read_properties(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && info.st_size <= MOST_PROPERTIES ? json_load_file(path, 0, NULL)
                                                                   : NULL;
}

/* What came of it: the properties, or NULL and why. *stopped: the server stops. */
static json_t *look(const inspection *i, bool *stopped, char *error, size_t size) {
  char program[CONTEXT_PATH], data[CONTEXT_PATH], output[CONTEXT_PATH], errors[CONTEXT_PATH];
  const context *c = i->of->context;
  path_of_dataset(c, i->dataset, i->file, data, sizeof data);
  path_of_dataset(c, i->dataset, "properties.json", output, sizeof output);
  path_of_dataset(c, i->dataset, "errors", errors, sizeof errors);
  char *const arguments[] = {program, "inspect", data, "--json", NULL};
  process_spec spec = {
      .arguments = arguments, .output = output, .errors = errors, .background = true};
  bounds b;
  bounds_of_run(c, i->dataset, NULL, &b);
  bounds_apply(c, &b, &spec);
  int code = process_beside("webml", program, sizeof program)
                 ? tool_wait(i->of->tools, &spec, b.seconds, error, size)
                 : 127;
  *stopped = code < 0;
  json_t *properties = code == 0 ? read_properties(output) : NULL;
  if (code == 1 || code == PROCESS_NOT_CONFINED || code == PROCESS_NOT_STARTED)
    last_error_of(errors, error, size);
  if (properties || error[0]) return properties;
  if (code > 1)
    snprintf(error, size,
             "looking at it ended with %d: it is damaged, or too large for this machine", code);
  else
    snprintf(error, size, code ? "it cannot be read" : "nothing came of looking at it");
  return NULL;
}

static void run_inspection(lane_task *task) {
  inspection *i = (inspection *)task;
  const context *c = i->of->context;
  char error[1024] = "", folder[CONTEXT_PATH];
  bool stopped;
  json_t *properties = look(i, &stopped, error, sizeof error);
  hide_paths(c, error);
  char *text = properties ? json_dumps(properties, JSON_COMPACT) : NULL;
  int64_t changed = stopped ? 1
                            : dataset_set_looked(c->store, i->dataset,
                                                 store_text(properties, "format"), text, error);
  if (changed < 0) log_event("dataset", i->owner, i->name, store_error());
  if (changed == 0) { /* deleted meanwhile */
    path_of_dataset(c, i->dataset, "", folder, sizeof folder);
    folder_remove(folder);
    path_of_cache(c, i->dataset, folder, sizeof folder);
    folder_remove(folder);
  }
  if (!stopped)
    event_send(c, "dataset", i->owner, 0,
               json_pack("{s:I, s:s, s:s, s:s*}", "id", (json_int_t)i->dataset, "name", i->name,
                         "state", text ? "ready" : "broken", "error", text ? NULL : error));
  free(text);
  json_decref(properties);
  free(i);
}

bool inspection_start(inspections *of, int64_t dataset, int64_t owner, const char *name,
                      const char *file) {
  inspection *i = calloc(1, sizeof *i);
  if (!i) return false;
  *i = (inspection){.task = {.run = run_inspection}, .of = of, .dataset = dataset, .owner = owner};
  snprintf(i->name, sizeof i->name, "%s", name);
  snprintf(i->file, sizeof i->file, "%s", file);
  if (lane_put(of->lane, owner, &i->task)) return true;
  free(i);
  return false;
}

inspections *inspections_create(const context *c, tools *t) {
  const lane_options options = {.threads = AT_ONCE,
                                .most = MOST,
                                .most_per_key = MOST_PER_ACCOUNT,
                                .running_per_key = AT_ONCE_PER_ACCOUNT,
                                .background = true};
  inspections *i = calloc(1, sizeof *i);
  if (!i) return NULL;
  i->context = c;
  i->tools = t;
  if (!(i->lane = lane_create(&options))) {
    free(i);
    return NULL;
  }
  json_t *row, *rows = datasets_unlooked(c->store);
  size_t k;
  json_array_foreach(rows, k, row)
      inspection_start(i, store_integer(row, "id"), store_integer(row, "owner"),
                       store_text(row, "name"), store_text(row, "file"));
  json_decref(rows);
  return i;
}

void inspections_destroy(inspections *i) {
  if (!i) return;
  lane_destroy(i->lane);
  free(i);
}
