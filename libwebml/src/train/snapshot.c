#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

float *wml_snapshot_data(const wml_snapshot *s, const char *name) {
  int i = 0;
  while (strcmp(s->tensors[i].name, name) != 0) i++;
  return (float *)(uintptr_t)s->tensors[i].data;
}

void wml_snapshot_free(wml_snapshot *s) {
  wml_free(s->tensors);
  wml_free(s->data);
  *s = (wml_snapshot){0};
}

static bool wanted(const wml_tensor *t, int what) {
  bool weights = t->role == WML_ROLE_PARAM || t->role == WML_ROLE_STATE;
  return weights || (what == WML_SNAPSHOT_ALL && t->role == WML_ROLE_SLOT);
}

/* All that is persistent belongs to a parameter of the model. */
static const wml_param *param_named(const webml_model *m, const char *name) {
  const wml_param *found = NULL;
  for (int i = 0; i < m->n_layers && !found; i++)
    for (int k = 0; k < m->layers[i].n_params && !found; k++)
      if (strcmp(m->layers[i].params[k].name, name) == 0) found = &m->layers[i].params[k];
  return found;
}

/* Shapes are those of the model's parameters, which operations may see otherwise. */
static void add(const webml_trainer *t, wml_snapshot *s, const char *name, int tensor,
                size_t *offset) {
  const wml_tensor *tensors = t->units[WML_UNIT_TRAIN].step.graph.tensors, *of = &tensors[tensor];
  const char *param = of->role == WML_ROLE_SLOT ? tensors[of->like].name : of->name;
  const wml_param *p = param_named(t->model, param);
  wml_named_tensor *n = &s->tensors[s->n++];
  *n = (wml_named_tensor){.name = name, .rank = p->rank, .data = s->data + *offset};
  memcpy(n->dim, p->dim, sizeof n->dim);
  *offset += (size_t)wml_elements(of);
}

/* Weights are in a snapshot of all twice: as they are, and the best. */
static int copies(const wml_tensor *t, int what) {
  if (!wanted(t, what)) return 0;
  return what == WML_SNAPSHOT_ALL && t->role != WML_ROLE_SLOT ? 2 : 1;
}

size_t wml_snapshot_bytes(const webml_trainer *t, int what) {
  const wml_graph *g = &t->units[WML_UNIT_TRAIN].step.graph;
  size_t elements = 0;
  for (int i = 0; i < g->n_tensors; i++)
    elements += (size_t)wml_elements(&g->tensors[i]) * (size_t)copies(&g->tensors[i], what);
  return elements * sizeof(float);
}

/* Names: those of the training graph, which lives as long as the trainer; best weights under
 * "best/". */
webml_status wml_snapshot_create(webml_trainer *t, int what, wml_snapshot *s) {
  const wml_graph *g = &t->units[WML_UNIT_TRAIN].step.graph;
  size_t n = 0, bytes = wml_snapshot_bytes(t, what), offset = 0;
  *s = (wml_snapshot){0};
  for (int i = 0; i < g->n_tensors; i++) n += (size_t)copies(&g->tensors[i], what);
  s->tensors = wml_alloc(n * sizeof *s->tensors);
  s->data = wml_alloc(bytes);
  if (!s->tensors || !s->data) {
    wml_snapshot_free(s);
    return wml_no_memory(bytes, "a copy of the weights");
  }
  for (int i = 0; i < g->n_tensors; i++)
    if (wanted(&g->tensors[i], what)) add(t, s, g->tensors[i].name, i, &offset);
  for (int i = 0; what == WML_SNAPSHOT_ALL && i < g->n_tensors; i++) {
    if (!wanted(&g->tensors[i], WML_SNAPSHOT_WEIGHTS)) continue;
    size_t length = strlen(g->tensors[i].name) + 6;
    char *name = wml_arena_alloc(&t->arena, length);
    if (!name) {
      wml_snapshot_free(s);
      return wml_no_memory(length, "a name");
    }
    snprintf(name, length, "best/%s", g->tensors[i].name);
    add(t, s, name, i, &offset);
  }
  return WEBML_OK;
}

/* Current values; "best/..." from the trainer's best weights. */
webml_status wml_snapshot_take(webml_trainer *t, wml_snapshot *s) {
  int best = 0;
  for (int i = 0; i < s->n; i++) {
    float *to = (float *)(uintptr_t)s->tensors[i].data;
    if (strncmp(s->tensors[i].name, "best/", 5) == 0)
      memcpy(to, t->best.tensors[best++].data,
             (size_t)wml_named_elements(&s->tensors[i]) * sizeof *to);
    else
      WML_TRY(wml_from_result(t->device->backend->get(t->store, s->tensors[i].name, to)));
  }
  return WEBML_OK;
}
