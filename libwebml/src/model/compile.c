/* What Keras calls compile(): optimizer, loss and metrics, each a name or an object. */
#include "model/fields.h"

#include <string.h>
#include <strings.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define AT(member) offsetof(wml_optimizer, member)
#define NAME2(symbol, name, about) name,
#define NAME3(symbol, name, extra, about) name,
#define ABOUT2(symbol, name, about) about,
#define ABOUT3(symbol, name, extra, about) about,

static const char *const optimizer_names[] = {WML_OPTIMIZERS(NAME3)};
static const char *const optimizer_abouts[] = {WML_OPTIMIZERS(ABOUT3)};
static const char *const loss_names[] = {WML_LOSSES(NAME2)};
static const char *const loss_abouts[] = {WML_LOSSES(ABOUT2)};
static const char *const metric_names[] = {WML_METRICS(NAME3)};
static const char *const metric_abouts[] = {WML_METRICS(ABOUT3)};

const char *wml_optimizer_name(wml_optimizer_kind kind) {
  return optimizer_names[kind];
}
const char *wml_loss_name(wml_loss_kind kind) {
  return loss_names[kind];
}
const char *wml_metric_name(wml_metric_kind kind) {
  return metric_names[kind];
}

bool wml_metric_more_is_better(wml_metric_kind kind) {
#define MORE(symbol, name, more, about) more,
  static const char better[] = {WML_METRICS(MORE)};
#undef MORE
  return better[kind] != 0;
}

/* The kind that a string, or an object's "name", names in any case; -1 with an issue. */
static int read_kind(const wml_json *json, const wml_json **options, const wml_json_path *place,
                     const wml_kind_list *list, wml_issues *issues) {
  const char *names[WML_MOST_FIELDS], *name = wml_name_of(json, options);
  for (int i = 0; i < list->n; i++) names[i] = list->name(i);
  if (!name) {
    wml_issue(issues, place, "must be a name such as \"%s\", or an object {\"name\": ...}",
              names[2]);
    return -1;
  }
  for (int i = 0; i < list->n_aliases; i++)
    if (strcasecmp(name, list->aliases[i].alias) == 0) return list->aliases[i].kind;
  for (int i = 0; i < list->n; i++)
    if (strcasecmp(name, names[i]) == 0) return i;
  wml_unknown_name(issues, place, json, "unknown name", name, names, list->n);
  return -1;
}

/* The options of that kind. */
static webml_status read_options(wml_arena *arena, const wml_json *json, const wml_json *options,
                                 const wml_json_path *place, const wml_kind_list *list, int kind,
                                 void *object, wml_issues *issues) {
  wml_field fields[WML_MOST_FIELDS];
  wml_json_path config = {.in = place, .key = "config"};
  return wml_fields_read(arena, fields, list->fields(kind, fields), options,
                         options == json ? place : &config, "name", object, issues);
}

/* ---- optimizer ---- */

#define BIT(symbol) (1u << WML_##symbol)
#define ALL ((1u << WML_N_OPTIMIZERS) - 1u)
#define ADAMS (BIT(ADAM) | BIT(ADAMW) | BIT(ADAMAX) | BIT(NADAM) | BIT(LION) | BIT(LAMB))

/* Which optimizers know the key; defaults that differ are in default_of(). */
static const wml_kind_field optimizer_fields[] = {
    {ALL,
     {.key = "learning_rate",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(learning_rate),
      .low = 0,
      .high = 1e6,
      .about = "The size of the steps."}},
    {BIT(SGD) | BIT(RMSPROP),
     {.key = "momentum",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(momentum),
      .low = 0,
      .high = 1,
      .about = "The share of the last step that is taken again."}},
    {BIT(SGD),
     {.key = "nesterov",
      .kind = WML_FIELD_BOOL,
      .offset = AT(nesterov),
      .about = "Whether the gradient is taken after the momentum's step."}},
    {BIT(RMSPROP) | BIT(ADADELTA),
     {.key = "rho",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(rho),
      .low = 0,
      .high = 1,
      .about = "How slowly the moving mean of squared gradients forgets."}},
    {BIT(RMSPROP),
     {.key = "centered",
      .kind = WML_FIELD_BOOL,
      .offset = AT(centered),
      .about = "Whether gradients are divided by their variance, not their size."}},
    {ADAMS,
     {.key = "beta_1",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(beta_1),
      .low = 0,
      .high = 0.9999999,
      .about = "How slowly the moving mean of gradients forgets."}},
    {ADAMS,
     {.key = "beta_2",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(beta_2),
      .low = 0,
      .high = 0.9999999,
      .about = "How slowly the moving mean of squared gradients forgets."}},
    {ALL & ~(BIT(SGD) | BIT(FTRL) | BIT(LION)),
     {.key = "epsilon",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(epsilon),
      .low = 0,
      .high = 1e3,
      .about = "A small number that keeps the division from 0."}},
    {BIT(ADAM) | BIT(ADAMW),
     {.key = "amsgrad",
      .kind = WML_FIELD_BOOL,
      .offset = AT(amsgrad),
      .about = "Whether the greatest mean square so far counts."}},
    {BIT(ADAGRAD) | BIT(FTRL),
     {.key = "initial_accumulator_value",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(initial_accumulator),
      .low = 0,
      .high = 1e6,
      .about = "What the sum of squared gradients begins with."}},
    {BIT(FTRL),
     {.key = "learning_rate_power",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(learning_rate_power),
      .low = -10,
      .high = 0,
      .about = "The power of the sum of squared gradients."}},
    {BIT(FTRL),
     {.key = "l1_regularization_strength",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(l1),
      .low = 0,
      .high = 1e6,
      .about = "A penalty on absolute values."}},
    {BIT(FTRL),
     {.key = "l2_regularization_strength",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(l2),
      .low = 0,
      .high = 1e6,
      .about = "A penalty on squares."}},
    {BIT(FTRL),
     {.key = "l2_shrinkage_regularization_strength",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(l2_shrinkage),
      .low = 0,
      .high = 1e6,
      .about = "A penalty on squares that counts for the gradient alone."}},
    {BIT(FTRL),
     {.key = "beta",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(beta),
      .low = 0,
      .high = 1e6,
      .about = "A constant added to the learning rate's denominator."}},
    {ALL,
     {.key = "use_ema",
      .kind = WML_FIELD_BOOL,
      .offset = AT(use_ema),
      .about = "Whether the weights file gets a moving mean of the weights."}},
    {ALL,
     {.key = "ema_momentum",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(ema_momentum),
      .low = 0,
      .high = 1,
      .about = "How slowly that mean forgets."}},
    {ALL,
     {.key = "gradient_accumulation_steps",
      .kind = WML_FIELD_INT,
      .offset = AT(accumulation),
      .low = 2,
      .high = 1e6,
      .nullable = true,
      .about = "The mean gradient of so many steps is applied in one; null: each step's own."}},
    {ALL,
     {.key = "weight_decay",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(weight_decay),
      .low = 0,
      .high = 1e3,
      .nullable = true,
      .about = "The share that weights lose in each step; null: none."}},
    {ALL,
     {.key = "clipnorm",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(clipnorm),
      .low = 0,
      .high = 1e9,
      .nullable = true,
      .about = "The greatest norm of each gradient; null: no limit."}},
    {ALL,
     {.key = "clipvalue",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(clipvalue),
      .low = 0,
      .high = 1e9,
      .nullable = true,
      .about = "The greatest value of each gradient; null: no limit."}},
    {ALL,
     {.key = "global_clipnorm",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(global_clipnorm),
      .low = 0,
      .high = 1e9,
      .nullable = true,
      .about = "The greatest norm of all gradients together; null: no limit."}},
};

void wml_default_optimizer(wml_optimizer_kind kind, wml_optimizer *o) {
  *o = (wml_optimizer){.kind = kind,
                       .learning_rate = 0.001f,
                       .rho = 0.9f,
                       .beta_1 = 0.9f,
                       .beta_2 = 0.999f,
                       .epsilon = 1e-7f,
                       .initial_accumulator = 0.1f,
                       .learning_rate_power = -0.5f,
                       .ema_momentum = 0.99f};
  if (kind == WML_SGD) o->learning_rate = 0.01f;
  if (kind == WML_ADADELTA) o->rho = 0.95f;
  if (kind == WML_ADAMW) o->weight_decay = 0.004f;
  if (kind == WML_LION) o->beta_2 = 0.99f;
}

static int optimizer_fields_of(int kind, wml_field *out) {
  wml_optimizer plain;
  wml_default_optimizer((wml_optimizer_kind)kind, &plain);
  return wml_fields_of_kind(optimizer_fields, COUNT(optimizer_fields), kind, &plain, out);
}

static const char *optimizer_name(int kind) {
  return optimizer_names[kind];
}
static const char *optimizer_about(int kind) {
  return optimizer_abouts[kind];
}
const wml_kind_list wml_optimizer_list = {
    "optimizers", WML_N_OPTIMIZERS, optimizer_name, optimizer_about, optimizer_fields_of, NULL, 0};

static const wml_json_path optimizer_place = {.key = "optimizer"};

webml_status wml_read_optimizer(wml_arena *arena, const wml_json *json, wml_optimizer *o,
                                bool *open, wml_issues *issues) {
  const wml_json *options;
  wml_default_optimizer(WML_ADAM, o);
  *open = json->kind == WML_JSON_NULL;
  if (*open) return WEBML_OK;
  int kind = read_kind(json, &options, &optimizer_place, &wml_optimizer_list, issues);
  if (kind < 0) return WEBML_OK;
  wml_default_optimizer((wml_optimizer_kind)kind, o);
  WML_TRY(
      read_options(arena, json, options, &optimizer_place, &wml_optimizer_list, kind, o, issues));
  if ((o->clipnorm > 0) + (o->clipvalue > 0) + (o->global_clipnorm > 0) <= 1) return WEBML_OK;
  wml_issue(issues, &optimizer_place,
            "only one of clipnorm, clipvalue and global_clipnorm may be set");
  wml_issue_cure(issues, "keep one of them");
  return WEBML_OK;
}

void wml_write_optimizer(wml_text *t, const wml_optimizer *o) {
  wml_field fields[WML_MOST_FIELDS];
  int n = optimizer_fields_of((int)o->kind, fields);
  fields[0].required = true; /* the learning rate is always said */
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, optimizer_names[o->kind]);
  wml_fields_write(t, fields, n, o);
  wml_json_close(t, '}');
}

/* ---- loss ---- */

static const wml_alias loss_aliases[] = {{"mse", WML_MEAN_SQUARED_ERROR},
                                         {"mae", WML_MEAN_ABSOLUTE_ERROR},
                                         {"mape", WML_MEAN_ABSOLUTE_PERCENTAGE_ERROR},
                                         {"msle", WML_MEAN_SQUARED_LOGARITHMIC_ERROR},
                                         {"bce", WML_BINARY_CROSSENTROPY},
                                         {"logcosh", WML_LOG_COSH},
                                         {"kld", WML_KL_DIVERGENCE},
                                         {"kullback_leibler_divergence", WML_KL_DIVERGENCE},
                                         {"huber_loss", WML_HUBER},
                                         {"cosine_proximity", WML_COSINE_SIMILARITY}};

#define ALL_LOSSES ((1u << WML_N_LOSSES) - 1u)
#define FOCAL (BIT(BINARY_FOCAL_CROSSENTROPY) | BIT(CATEGORICAL_FOCAL_CROSSENTROPY))
#define CROSSENTROPIES                                                                             \
  (BIT(BINARY_CROSSENTROPY) | BIT(CATEGORICAL_CROSSENTROPY) |                                      \
   BIT(SPARSE_CATEGORICAL_CROSSENTROPY) | FOCAL)
static const wml_kind_field loss_fields[] = {
    {BIT(HUBER),
     {.key = "delta",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, delta),
      .low = 0,
      .high = 1e9,
      .about = "Differences up to it are squared."}},
    {BIT(BINARY_FOCAL_CROSSENTROPY),
     {.key = "apply_class_balancing",
      .kind = WML_FIELD_BOOL,
      .offset = offsetof(wml_loss, apply_class_balancing),
      .about = "Whether the two answers are weighted by alpha."}},
    {BIT(BINARY_FOCAL_CROSSENTROPY),
     {.key = "alpha",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, alpha),
      .low = 0,
      .high = 1,
      .about = "The weight of a yes; that of a no is what is missing to 1."}},
    {BIT(CATEGORICAL_FOCAL_CROSSENTROPY),
     {.key = "alpha",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, alpha),
      .low = 0,
      .high = 1e6,
      .about = "A factor of the loss."}},
    {FOCAL,
     {.key = "gamma",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, gamma),
      .low = 0,
      .high = 100,
      .about = "How little counts what is already right; 0: as much as the rest."}},
    {BIT(CATEGORICAL_GENERALIZED_CROSS_ENTROPY),
     {.key = "q",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, q),
      .low = 1e-6,
      .high = 0.999999,
      .about = "Towards 0 a cross-entropy, towards 1 an absolute error."}},
    {BIT(TVERSKY),
     {.key = "alpha",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, alpha),
      .low = 0,
      .high = 1e6,
      .about = "The weight of false positives."}},
    {BIT(TVERSKY),
     {.key = "beta",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, beta),
      .low = 0,
      .high = 1e6,
      .about = "The weight of false negatives."}},
    {CROSSENTROPIES,
     {.key = "label_smoothing",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_loss, label_smoothing),
      .low = 0,
      .high = 1,
      .about = "The share of a label that is spread over all classes."}},
    {CROSSENTROPIES,
     {.key = "from_logits",
      .kind = WML_FIELD_BOOL,
      .offset = offsetof(wml_loss, from_logits),
      .about = "Whether the network gives logits, without softmax or sigmoid."}},
    {ALL_LOSSES & ~BIT(HUBER), {.key = "delta", .kind = WML_FIELD_IGNORED}},
    {ALL_LOSSES & ~CROSSENTROPIES, {.key = "from_logits", .kind = WML_FIELD_IGNORED}},
};

void wml_default_loss(wml_loss_kind kind, wml_loss *out) {
  *out = (wml_loss){
      .kind = kind, .delta = 1.0f, .gamma = 2.0f, .alpha = 0.25f, .beta = 0.5f, .q = 0.5f};
  if (kind == WML_TVERSKY) out->alpha = 0.5f;
}

static int loss_fields_of(int kind, wml_field *out) {
  wml_loss plain;
  wml_default_loss((wml_loss_kind)kind, &plain);
  return wml_fields_of_kind(loss_fields, COUNT(loss_fields), kind, &plain, out);
}

static const char *loss_name(int kind) {
  return loss_names[kind];
}
static const char *loss_about(int kind) {
  return loss_abouts[kind];
}
const wml_kind_list wml_loss_list = {"losses",       WML_N_LOSSES, loss_name,          loss_about,
                                     loss_fields_of, loss_aliases, COUNT(loss_aliases)};

webml_status wml_read_loss(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                           wml_loss *out, bool *open, wml_issues *issues) {
  const wml_json *options;
  wml_default_loss(WML_CATEGORICAL_CROSSENTROPY, out);
  *open = json->kind == WML_JSON_NULL;
  if (*open) return WEBML_OK;
  int kind = read_kind(json, &options, place, &wml_loss_list, issues);
  if (kind < 0) return WEBML_OK;
  wml_default_loss((wml_loss_kind)kind, out);
  return read_options(arena, json, options, place, &wml_loss_list, kind, out, issues);
}

void wml_write_loss(wml_text *t, const wml_loss *loss) {
  wml_field fields[WML_MOST_FIELDS];
  int n = loss_fields_of((int)loss->kind, fields);
  if (!wml_fields_differ(fields, n, loss)) {
    wml_json_string(t, loss_names[loss->kind]);
    return;
  }
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, loss_names[loss->kind]);
  wml_fields_write(t, fields, n, loss);
  wml_json_close(t, '}');
}

/* ---- metrics ---- */

/* "accuracy" is decided by shapes. */
enum { BY_SHAPE = WML_N_METRICS };

static const wml_alias metric_aliases[] = {{"accuracy", BY_SHAPE},
                                           {"acc", BY_SHAPE},
                                           {"mae", WML_METRIC_MAE},
                                           {"mse", WML_METRIC_MSE},
                                           {"rmse", WML_ROOT_MEAN_SQUARED_ERROR},
                                           {"top_k_accuracy", WML_TOP_K_CATEGORICAL_ACCURACY},
                                           {"ce", WML_METRIC_CROSSENTROPY},
                                           {"binary_crossentropy", WML_METRIC_CROSSENTROPY},
                                           {"categorical_crossentropy", WML_METRIC_CROSSENTROPY},
                                           {"r2", WML_R2_SCORE}};

static const wml_kind_field metric_fields[] = {
    {BIT(TOP_K_CATEGORICAL_ACCURACY),
     {.key = "k",
      .kind = WML_FIELD_INT,
      .offset = offsetof(wml_metric, k),
      .low = 1,
      .high = 1e6,
      .about = "How many of the most likely classes count."}},
    {BIT(PRECISION) | BIT(RECALL),
     {.key = "threshold",
      .kind = WML_FIELD_FLOAT,
      .offset = offsetof(wml_metric, threshold),
      .low = 0,
      .high = 1,
      .about = "Outputs above it are positive answers."}},
    {~BIT(TOP_K_CATEGORICAL_ACCURACY), {.key = "k", .kind = WML_FIELD_IGNORED}},
    {~(BIT(PRECISION) | BIT(RECALL)), {.key = "threshold", .kind = WML_FIELD_IGNORED}},
};

static const wml_metric plain_metric = {.k = 5, .threshold = 0.5f};

static int metric_fields_of(int kind, wml_field *out) {
  return wml_fields_of_kind(metric_fields, COUNT(metric_fields), kind, &plain_metric, out);
}

static const char *metric_name(int kind) {
  return kind == BY_SHAPE ? "accuracy" : metric_names[kind];
}
static const char *metric_about(int kind) {
  return kind == BY_SHAPE
             ? "The share of right answers: binary, sparse or categorical, by the shapes."
             : metric_abouts[kind];
}
const wml_kind_list wml_metric_list = {
    "metrics",        BY_SHAPE + 1,   metric_name,          metric_about,
    metric_fields_of, metric_aliases, COUNT(metric_aliases)};

static webml_status read_metric(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                                wml_metric_spec *out, bool *ok, wml_issues *issues) {
  const wml_json *options;
  int kind = read_kind(json, &options, place, &wml_metric_list, issues);
  *ok = kind >= 0;
  if (!*ok) return WEBML_OK;
  out->by_shape = kind == BY_SHAPE;
  out->metric = plain_metric;
  out->metric.kind = out->by_shape ? WML_BINARY_ACCURACY : (wml_metric_kind)kind;
  WML_TRY(read_options(arena, json, options, place, &wml_metric_list, kind, &out->metric, issues));
  const wml_json *ignored;
  const char *name = wml_name_of(json, &ignored);
  out->name = wml_arena_copy(arena, name, strlen(name));
  return out->name ? WEBML_OK : wml_no_memory(strlen(name), "a metric");
}

webml_status wml_read_metrics(wml_arena *arena, const wml_json *json, const wml_json_path *place,
                              wml_metric_spec *out, int *n, wml_issues *issues) {
  *n = 0;
  if (!json || json->kind == WML_JSON_NULL) return WEBML_OK;
  bool list = json->kind == WML_JSON_ARRAY;
  if (!list && json->kind != WML_JSON_STRING) {
    wml_issue(issues, place, "must be a list such as [\"accuracy\"]");
    wml_issue_cure(issues, "set it to [\"accuracy\"]");
    wml_patch_replace(issues, place, "[\"accuracy\"]");
    return WEBML_OK;
  }
  int i = 0;
  for (const wml_json *m = list ? json->first : json; m; m = list ? m->next : NULL, i++) {
    wml_json_path item = {.in = place, .index = i};
    bool ok;
    if (i >= WEBML_MAX_METRICS) {
      wml_issue(issues, &item, "at most %d metrics", WEBML_MAX_METRICS);
      wml_issue_cure(issues, "remove it");
      wml_patch_remove(issues, &item);
      break;
    }
    WML_TRY(read_metric(arena, m, list ? &item : place, &out[*n], &ok, issues));
    if (ok) ++*n;
  }
  return WEBML_OK;
}

void wml_write_metrics(wml_text *t, const wml_metric_spec *metrics, int n) {
  wml_json_open(t, '[');
  for (int i = 0; i < n; i++) {
    const wml_metric_spec *m = &metrics[i];
    wml_field fields[WML_MOST_FIELDS];
    int n_fields = metric_fields_of(m->by_shape ? BY_SHAPE : (int)m->metric.kind, fields);
    if (!wml_fields_differ(fields, n_fields, &m->metric)) {
      wml_json_string(t, m->name);
      continue;
    }
    wml_json_open(t, '{');
    wml_json_key(t, "name");
    wml_json_string(t, m->name);
    wml_fields_write(t, fields, n_fields, &m->metric);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}
