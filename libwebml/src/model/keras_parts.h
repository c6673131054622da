/* What the translation of Keras's documents is made of: trees, options and compile(). */
#ifndef WML_MODEL_KERAS_PARTS_H
#define WML_MODEL_KERAS_PARTS_H

#include "model/layer.h"

/* keras_tree.c: values in the arena of the issues. Where memory is short issues->failed is set, and
 * values are NULL, which all functions take. */
wml_json *wml_tree_new(wml_issues *issues, wml_json_kind kind, int line);
wml_json *wml_tree_string(wml_issues *issues, const char *string, int line);
wml_json *wml_tree_number(wml_issues *issues, double number, int line);
/* A copy of the value itself; members are shared. */
wml_json *wml_tree_copy(wml_issues *issues, const wml_json *value);
/* Appends a value that is in no other tree. key: of a member, NULL: of an item. */
void wml_tree_put(wml_json *parent, const char *key, wml_json *value);
/* item i of an array; NULL. */
const wml_json *wml_tree_item(const wml_json *array, int i);
/* The string of a member, or "". */
const char *wml_tree_word(const wml_json *object, const char *key);

/* ---- the translation ---- */

/* A model of Keras consists of layers and of calls of them. The list that is made has one entry for
 * each call, in an order in which they can be computed: the first call of a layer describes it, a
 * further one uses it again. Models inside models are dissolved, and their layers named
 * "outer.inner". */

/* What a small document could make a lot of: calls, names that are put together, and values that
 * are looked at again each time a model inside is called. */
enum {
  WML_KERAS_MOST_CALLS = WML_MAX_NODES,
  WML_KERAS_MOST_NAME = 128,
  WML_KERAS_MOST_READ = 1 << 16
};

/* Tensors by the names of the nodes that give them. */
typedef struct wml_keras_tensors {
  int n;
  const char **names;
} wml_keras_tensors;

typedef struct wml_keras_made {
  const char *name;
  const wml_json *layer;
  int uses;
} wml_keras_made;

/* An item of the list of layers. */
typedef struct wml_keras_entry {
  wml_json *json;
  const char *layer, *gives; /* the layer; the node that this call of it is */
  wml_keras_tensors in;
  bool is_read; /* leads to an output of the model */
} wml_keras_entry;

typedef struct wml_keras_translation {
  wml_issues *issues;
  wml_keras_entry *entries; /* [WML_KERAS_MOST_CALLS] */
  int n_entries;
  wml_keras_made *made;        /* [WML_KERAS_MOST_CALLS] layers that have an entry */
  int n_made, n_calls, n_read; /* n_calls: of layers; n_read: values of what they read */
  const char *input;           /* of a model with one */
  const char **bytes;          /* [WML_KERAS_MOST_CALLS] nodes that give pictures as they come in */
  int n_bytes;
  bool broken; /* the graph cannot be understood */
} wml_keras_translation;

/* A model that is being dissolved. */
typedef struct wml_keras_scope {
  const wml_json *model;
  const char *prefix; /* or NULL */
  wml_keras_tensors in;
  bool inference; /* it is called with training=False */
} wml_keras_scope;

/* keras_tree.c: parts of documents. */
const wml_json *wml_keras_config(const wml_json *model);
/* The layers of a model; NULL: it is a layer, or nothing. */
const wml_json *wml_keras_layers(const wml_json *model);
const char *wml_keras_name(const wml_json *layer);
bool wml_keras_is_input(const wml_json *layer);
/* Whether it is Sequential. */
bool wml_keras_is_chain(const wml_json *model);

/* An error at a layer. */
void wml_keras_complain(wml_keras_translation *t, const wml_json *layer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same where nothing can be made of the graph. */
#define WML_KERAS_BREAK(t, ...) (wml_keras_complain(t, __VA_ARGS__), (t)->broken = true)
void *wml_keras_alloc(wml_keras_translation *t, size_t bytes); /* NULL: t is broken */
/* "prefix.name"; slashes, which names may not have here, become dots. */
const char *wml_keras_full_name(wml_keras_translation *t, const char *prefix, const char *name);
wml_keras_tensors wml_keras_tensors_of(wml_keras_translation *t, int n);
wml_keras_tensors wml_keras_tensor(wml_keras_translation *t, const char *name);

/* keras_calls.c: what the model gives for what it reads; adds the entries for it. */
wml_keras_tensors wml_keras_dissolve(wml_keras_translation *t, const wml_keras_scope *s);
/* The same of a layer, or of a model that is one. inference: it is called with training=False. */
wml_keras_tensors wml_keras_call(wml_keras_translation *t, const wml_keras_scope *s,
                                 const wml_json *layer, const wml_keras_tensors *in,
                                 bool inference);
/* The list of those entries that lead to the outputs. *last: what the last one gives. */
wml_json *wml_keras_list(wml_keras_translation *t, const wml_keras_tensors *outputs, int line,
                         const char **last);
/* Says that this node gives pictures as they come in. */
void wml_keras_add_bytes(wml_keras_translation *t, const char *name);

/* Whether a layer does nothing when the model predicts. */
bool wml_keras_is_for_training(const char *class_name);

/* keras_graph.c: the same of a Functional model. */
wml_keras_tensors wml_keras_graph(wml_keras_translation *t, const wml_keras_scope *s);
/* The names of the layers in "input_layers" or "output_layers". */
wml_keras_tensors wml_keras_ends(wml_keras_translation *t, const wml_keras_scope *s,
                                 const char *key);

/* ---- options ---- */

/* keras_options.c: the options of a layer of that class, without what has no meaning here. */
wml_json *wml_keras_options(wml_issues *issues, const char *class_name, const wml_json *config,
                            const char *name);
/* Adds optimizer, losses and metrics; for several outputs "outputs". names: of the n outputs, in
 * Keras and here; is_last: the only output is the last layer. */
typedef struct wml_keras_output {
  const char *name;  /* Keras's */
  const char *layer; /* ours */
} wml_keras_output;
void wml_keras_compile(wml_issues *issues, const wml_json *compile, const wml_keras_output *outputs,
                       int n, bool is_last, wml_json *description);

#endif
