/* Learning that begins with another network's weights: which layers keep them, what is taken over
 * from a file, and which layers start anew. */
#include "model/layer.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

/* ---- frozen layers ---- */

/* Whether the pattern, with * for any text and ? for any character, is the whole of the name. Where
 * it fails, the last * takes one character more: an earlier one need not. */
static bool is_like(const char *pattern, size_t length, const char *name, size_t n) {
  size_t p = 0, i = 0, star = length, start = 0;
  while (i < n)
    if (p < length && pattern[p] == '*')
      star = p++, start = i;
    else if (p < length && (pattern[p] == '?' || pattern[p] == name[i]))
      p++, i++;
    else if (star < length)
      p = star + 1, i = ++start;
    else
      return false;
  while (p < length && pattern[p] == '*') p++;
  return p == length;
}

/* Names of blocks stand before those of their layers, with a point: they mean all of these. */
static bool names_layer(const char *pattern, size_t p, const char *name) {
  for (size_t n = 1; n <= strlen(name); n++)
    if ((name[n] == '\0' || name[n] == '.') && is_like(pattern, p, name, n)) return true;
  return false;
}

static int freeze_like(webml_model *m, const char *pattern, size_t length) {
  int found = 0;
  for (int i = 0; i < m->n_layers; i++) {
    wml_layer *l = &m->layers[i];
    if (l->n_params == 0 || !names_layer(pattern, length, l->name)) continue;
    for (int k = 0; k < l->n_params; k++) l->params[k].trainable = false;
    ((wml_layer_options *)l->options)->trainable = l->trainable = false;
    found++;
  }
  return found;
}

/* The beginning of a layer's name that the pattern without its wildcards was likely meant to be; in
 * the arena. */
static const char *suggest_layer(webml_trainer *t, const char *pattern, size_t length) {
  const webml_model *m = t->model;
  char word[128];
  size_t n = 0;
  int count = 0;
  for (size_t i = 0; i < length && n + 1 < sizeof word; i++)
    if (pattern[i] != '*' && pattern[i] != '?') word[n++] = pattern[i];
  word[n] = '\0';
  const char **names = wml_arena_alloc(&t->arena, 3 * (size_t)m->n_layers * sizeof *names);
  for (int i = 0; names && i < m->n_layers; i++)
    for (size_t k = 0; k < 3 && m->layers[i].n_params; k++) { /* as long, one more, one less */
      const char *name = m->layers[i].name;
      size_t whole = strlen(name), end = n == length ? whole : n + (k == 1) - (k == 2 && n);
      names[count] = wml_arena_copy(&t->arena, name, end < whole ? end : whole);
      count += names[count] != NULL;
    }
  return names ? wml_suggest(word, names, (size_t)count) : NULL;
}

static webml_status no_such_layer(webml_trainer *t, const char *pattern, size_t length) {
  const char *meant = suggest_layer(t, pattern, length);
  bool whole = false;
  for (int i = 0; meant && i < t->model->n_layers; i++)
    whole |= strcmp(t->model->layers[i].name, meant) == 0;
  return wml_fail(WEBML_ERROR_ARGUMENT,
                  "freeze: no layer with weights has a name like \"%.*s\"%s%s%s", (int)length,
                  pattern, meant ? ", did you mean \"" : "", meant ? meant : "",
                  !meant  ? "; webml summary prints the names"
                  : whole ? "\"?"
                          : "*\"?");
}

static webml_status freeze_all(webml_trainer *t, webml_model *m) {
  bool trains = false;
  for (const char *p = t->options.freeze; *p;) {
    size_t length = strcspn(p, ",");
    if (length && !freeze_like(m, p, length)) return no_such_layer(t, p, length);
    p += length + (p[length] == ',');
  }
  for (int i = 0; i < m->n_layers; i++)
    for (int k = 0; k < m->layers[i].n_params; k++) trains |= m->layers[i].params[k].trainable;
  return trains
             ? WEBML_OK
             : wml_fail(WEBML_ERROR_ARGUMENT,
                        "freeze: \"%s\" leaves no layer that could be trained", t->options.freeze);
}

webml_status wml_freeze(webml_trainer *t) {
  webml_model *copy = NULL;
  if (!t->options.freeze || t->model != t->given) return WEBML_OK;
  WML_TRY(wml_model_copy(t->given, &copy));
  webml_status status = wml_model_settle(copy);
  if (status == WEBML_OK) status = freeze_all(t, copy);
  if (status != WEBML_OK) {
    webml_model_destroy(copy);
    return status;
  }
  webml_model_destroy(t->model);
  t->model = copy;
  return WEBML_OK;
}

/* ---- a new head ---- */

/* The node with which the head of an output begins: the Dense that gives it; where none does, the
 * last layer with weights. */
static int head_of(const webml_model *m, int output) {
  int node = wml_output_dense(m, output);
  if (node >= 0) return node;
  node = m->outputs[output].node;
  while (node >= m->n_inputs && wml_node_layer(m, node)->n_params == 0)
    node = m->nodes[node].inputs[0];
  return node < m->n_inputs ? -1 : node;
}

/* Whether the tensor belongs to a layer from the head on. */
static bool is_in_head(const webml_model *m, const char *tensor) {
  for (int o = 0; o < m->n_outputs; o++) {
    int node = m->outputs[o].node, head = head_of(m, o);
    for (; head >= 0; node = m->nodes[node].inputs[0]) {
      const wml_layer *l = wml_node_layer(m, node);
      for (int k = 0; k < l->n_params; k++)
        if (strcmp(l->params[k].name, tensor) == 0) return true;
      if (node == head) break;
    }
  }
  return false;
}

/* ---- weights of a file ---- */

static bool same_shape(const wml_named_tensor *a, const wml_named_tensor *b) {
  bool same = a->rank == b->rank;
  for (int d = 0; same && d < a->rank; d++) same = a->dim[d] == b->dim[d];
  return same;
}

static void add_shape(wml_text *text, const wml_named_tensor *t) {
  for (int d = 0; d < t->rank; d++)
    wml_text_format(text, "%s%lld", d ? "x" : "", (long long)t->dim[d]);
}

/* "dense/kernel is 256x43 there and 256x10 here"; have NULL: it is missing. */
static void add_difference(wml_text *text, const wml_named_tensor *want,
                           const wml_named_tensor *have) {
  wml_text_format(text, "%s%.100s is ", text->length ? "; " : "", want->name);
  if (!have) {
    wml_text_string(text, "missing");
    return;
  }
  add_shape(text, have);
  wml_text_string(text, " there and ");
  add_shape(text, want);
  wml_text_string(text, " here");
}

enum { MOST_DIFFERENCES = 5 };

typedef struct taking {
  int taken, anew, different;
  wml_text differences;
} taking;

/* Copies what matches by name and shape; the others keep their initial values and are told, and so
 * does a new head. */
static void take_matching(const webml_trainer *t, const wml_weights *w, wml_snapshot *s,
                          taking *all) {
  for (int i = 0; i < s->n; i++) {
    const wml_named_tensor *want = &s->tensors[i],
                           *have = wml_safetensors_find(&w->file, want->name);
    if (t->options.new_head && is_in_head(t->model, want->name))
      all->anew++;
    else if (have && have->data && same_shape(have, want)) {
      memcpy((float *)(uintptr_t)want->data, have->data,
             (size_t)wml_named_elements(want) * sizeof(float));
      all->taken++;
    } else if (all->different++ < MOST_DIFFERENCES)
      add_difference(&all->differences, want, have);
  }
  if (all->different > MOST_DIFFERENCES)
    wml_text_format(&all->differences, "; and %d more", all->different - MOST_DIFFERENCES);
  wml_text_string(&all->differences, "");
}

/* What was taken is said; or why it does not do. */
static webml_status judge(const webml_trainer *t, const taking *all, int n) {
  const char *path = t->options.initial_weights, *differences = all->differences.data;
  bool must_fit = t->options.all_weights || t->options.new_head;
  char head[64] = "";
  if (all->differences.failed) return wml_no_memory(1 << 12, "a message");
  if (all->taken == 0)
    return wml_fail(WEBML_ERROR_MISMATCH,
                    "%s has no tensor with the name and shape of one of this model: %s", path,
                    differences);
  if (all->different && must_fit)
    return wml_fail(WEBML_ERROR_MISMATCH, "%s does not fit the model: %s", path, differences);
  if (all->anew) snprintf(head, sizeof head, "; the %d of the new head do not", all->anew);
  wml_trainer_say(t, "started from %s: %d of %d tensors match%s%s%s", path, all->taken, n, head,
                  all->different ? "; " : "", differences);
  return WEBML_OK;
}

webml_status wml_start_from(webml_trainer *t, wml_snapshot *s) {
  wml_weights w;
  taking all = {0};
  WML_TRY(wml_weights_read(t->options.initial_weights, &w));
  take_matching(t, &w, s, &all);
  wml_weights_free(&w);
  webml_status status = judge(t, &all, s->n);
  wml_text_free(&all.differences);
  return status;
}
