/* What Keras calls compile(): optimizer, loss and metrics, each a name or an object. */
#include "model/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define AT(member) offsetof(wml_optimizer, member)
#define NAME2(symbol, name) name,
#define NAME3(symbol, name, extra) name,

static const char *const optimizer_names[] = {WML_OPTIMIZERS(NAME3)};
static const char *const loss_names[] = {WML_LOSSES(NAME2)};
static const char *const metric_names[] = {WML_METRICS(NAME3)};

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
#define MORE(symbol, name, more) more,
  static const char better[] = {WML_METRICS(MORE)};
#undef MORE
  return better[kind] != 0;
}

/* ---- optimizer ---- */

enum { OPTIMIZER_FIELDS = 22 };

#define BIT(symbol) (1u << WML_##symbol)
#define ALL ((1u << WML_N_OPTIMIZERS) - 1u)
#define ADAMS (BIT(ADAM) | BIT(ADAMW) | BIT(ADAMAX) | BIT(NADAM) | BIT(LION) | BIT(LAMB))

/* Which optimizers know the key; defaults that differ are in default_of(). */
static const struct {
  unsigned known;
  wml_field field;
} optimizer_fields[OPTIMIZER_FIELDS] = {
    {ALL,
     {.key = "learning_rate",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(learning_rate),
      .low = 0,
      .high = 1e6}},
    {BIT(SGD) | BIT(RMSPROP),
     {.key = "momentum", .kind = WML_FIELD_FLOAT, .offset = AT(momentum), .low = 0, .high = 1}},
    {BIT(SGD), {.key = "nesterov", .kind = WML_FIELD_BOOL, .offset = AT(nesterov)}},
    {BIT(RMSPROP) | BIT(ADADELTA),
     {.key = "rho", .kind = WML_FIELD_FLOAT, .offset = AT(rho), .low = 0, .high = 1}},
    {BIT(RMSPROP), {.key = "centered", .kind = WML_FIELD_BOOL, .offset = AT(centered)}},
    {ADAMS,
     {.key = "beta_1", .kind = WML_FIELD_FLOAT, .offset = AT(beta_1), .low = 0, .high = 0.9999999}},
    {ADAMS,
     {.key = "beta_2", .kind = WML_FIELD_FLOAT, .offset = AT(beta_2), .low = 0, .high = 0.9999999}},
    {ALL & ~(BIT(SGD) | BIT(FTRL) | BIT(LION)),
     {.key = "epsilon", .kind = WML_FIELD_FLOAT, .offset = AT(epsilon), .low = 0, .high = 1e3}},
    {BIT(ADAM) | BIT(ADAMW), {.key = "amsgrad", .kind = WML_FIELD_BOOL, .offset = AT(amsgrad)}},
    {BIT(ADAGRAD) | BIT(FTRL),
     {.key = "initial_accumulator_value",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(initial_accumulator),
      .low = 0,
      .high = 1e6}},
    {BIT(FTRL),
     {.key = "learning_rate_power",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(learning_rate_power),
      .low = -10,
      .high = 0}},
    {BIT(FTRL),
     {.key = "l1_regularization_strength",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(l1),
      .low = 0,
      .high = 1e6}},
    {BIT(FTRL),
     {.key = "l2_regularization_strength",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(l2),
      .low = 0,
      .high = 1e6}},
    {BIT(FTRL),
     {.key = "l2_shrinkage_regularization_strength",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(l2_shrinkage),
      .low = 0,
      .high = 1e6}},
    {BIT(FTRL),
     {.key = "beta", .kind = WML_FIELD_FLOAT, .offset = AT(beta), .low = 0, .high = 1e6}},
    {ALL, {.key = "use_ema", .kind = WML_FIELD_BOOL, .offset = AT(use_ema)}},
    {ALL,
     {.key = "ema_momentum",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(ema_momentum),
      .low = 0,
      .high = 1}},
    {ALL,
     {.key = "weight_decay",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(weight_decay),
      .low = 0,
      .high = 1e3,
      .nullable = true}},
    {ALL,
     {.key = "clipnorm",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(clipnorm),
      .low = 0,
      .high = 1e9,
      .nullable = true}},
    {ALL,
     {.key = "clipvalue",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(clipvalue),
      .low = 0,
      .high = 1e9,
      .nullable = true}},
    {ALL,
     {.key = "global_clipnorm",
      .kind = WML_FIELD_FLOAT,
      .offset = AT(global_clipnorm),
      .low = 0,
      .high = 1e9,
      .nullable = true}},
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

/* The keys of one optimizer with its defaults. */
static int fields_of(wml_optimizer_kind kind, wml_field out[OPTIMIZER_FIELDS]) {
  wml_optimizer o;
  int n = 0;
  wml_default_optimizer(kind, &o);
  for (int i = 0; i < OPTIMIZER_FIELDS; i++) {
    if (!(optimizer_fields[i].known & 1u << kind) || !optimizer_fields[i].field.key) continue;
    out[n] = optimizer_fields[i].field;
    const char *p = (const char *)&o + out[n].offset;
    out[n].otherwise =
        out[n].kind == WML_FIELD_BOOL ? (double)*(const bool *)p : (double)*(const float *)p;
    n++;
  }
  return n;
}

static int find_name(const char *const *names, int n, const char *name) {
  for (int i = 0; i < n; i++)
    if (strcasecmp(names[i], name) == 0) return i;
  return -1;
}

/* The kind named by a string or by an object's "name"; -1 with an issue. */
static int read_kind(const wml_json *json, const char *path, const char *const *names, int n,
                     wml_issues *issues) {
  const char *name =
      json->kind == WML_JSON_STRING ? json->string : wml_json_get_string(json, "name", NULL);
  if (!name) {
    wml_issue(issues, path, "must be a name such as \"%s\", or an object {\"name\": ...}",
              names[n > 2 ? 2 : 0]);
    return -1;
  }
  int kind = find_name(names, n, name);
  if (kind >= 0) return kind;
  const char *meant = wml_suggest(name, names, (size_t)n);
  if (meant)
    wml_issue(issues, path, "unknown name \"%s\", did you mean \"%s\"?", name, meant);
  else {
    wml_text list = {0};
    for (int i = 0; i < n; i++) wml_text_format(&list, "%s%s", i ? ", " : "", names[i]);
    wml_issue(issues, path, "unknown name \"%s\"; known: %s", name, list.data ? list.data : "");
    wml_text_free(&list);
  }
  return -1;
}

webml_status wml_read_optimizer(wml_arena *arena, const wml_json *json, webml_model *model,
                                wml_issues *issues) {
  wml_default_optimizer(WML_ADAM, &model->optimizer);
  model->optimizer_open = json->kind == WML_JSON_NULL;
  if (model->optimizer_open) return WEBML_OK;
  int kind = read_kind(json, "optimizer", optimizer_names, WML_N_OPTIMIZERS, issues);
  if (kind < 0) return WEBML_OK;
  wml_default_optimizer((wml_optimizer_kind)kind, &model->optimizer);
  if (json->kind != WML_JSON_OBJECT) return WEBML_OK;
  wml_field fields[OPTIMIZER_FIELDS];
  int n = fields_of((wml_optimizer_kind)kind, fields);
  WML_TRY(wml_fields_read(arena, fields, n, json, "optimizer", "name", &model->optimizer, issues));
  const wml_optimizer *o = &model->optimizer;
  if ((o->clipnorm > 0) + (o->clipvalue > 0) + (o->global_clipnorm > 0) > 1)
    wml_issue(issues, "optimizer",
              "only one of clipnorm, clipvalue and global_clipnorm may be set");
  return WEBML_OK;
}

void wml_write_optimizer(wml_text *t, const wml_optimizer *o) {
  wml_field fields[OPTIMIZER_FIELDS];
  int n = fields_of(o->kind, fields);
  fields[0].required = true; /* the learning rate is always said */
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, optimizer_names[o->kind]);
  wml_fields_write(t, fields, n, o);
  wml_json_close(t, '}');
}

/* ---- loss ---- */

static const struct {
  const char *alias;
  wml_loss_kind kind;
} loss_aliases[] = {{"mse", WML_MEAN_SQUARED_ERROR},
                    {"mae", WML_MEAN_ABSOLUTE_ERROR},
                    {"mape", WML_MEAN_ABSOLUTE_PERCENTAGE_ERROR},
                    {"msle", WML_MEAN_SQUARED_LOGARITHMIC_ERROR},
                    {"bce", WML_BINARY_CROSSENTROPY},
                    {"logcosh", WML_LOG_COSH},
                    {"kld", WML_KL_DIVERGENCE},
                    {"kullback_leibler_divergence", WML_KL_DIVERGENCE},
                    {"huber_loss", WML_HUBER},
                    {"cosine_proximity", WML_COSINE_SIMILARITY}};

webml_status wml_read_loss(wml_arena *arena, const wml_json *json, webml_model *model,
                           wml_issues *issues) {
  static const wml_field fields[] = {
      {.key = "delta",
       .kind = WML_FIELD_FLOAT,
       .offset = offsetof(wml_loss, delta),
       .low = 0,
       .high = 1e9,
       .otherwise = 1},
      {.key = "label_smoothing",
       .kind = WML_FIELD_FLOAT,
       .offset = offsetof(wml_loss, label_smoothing),
       .low = 0,
       .high = 1},
      {.key = "from_logits", .kind = WML_FIELD_BOOL, .offset = offsetof(wml_loss, from_logits)}};
  model->loss = (wml_loss){.kind = WML_CATEGORICAL_CROSSENTROPY, .delta = 1.0f};
  model->loss_open = json->kind == WML_JSON_NULL;
  if (model->loss_open) return WEBML_OK;
  const char *name =
      json->kind == WML_JSON_STRING ? json->string : wml_json_get_string(json, "name", NULL);
  int kind = -1;
  for (size_t i = 0; name && i < sizeof loss_aliases / sizeof *loss_aliases; i++)
    if (strcasecmp(name, loss_aliases[i].alias) == 0) kind = (int)loss_aliases[i].kind;
  if (kind < 0) kind = read_kind(json, "loss", loss_names, WML_N_LOSSES, issues);
  if (kind < 0) return WEBML_OK;
  model->loss.kind = (wml_loss_kind)kind;
  if (json->kind == WML_JSON_OBJECT)
    WML_TRY(wml_fields_read(arena, fields, 3, json, "loss", "name", &model->loss, issues));
  bool smooth = kind == WML_BINARY_CROSSENTROPY || kind == WML_CATEGORICAL_CROSSENTROPY;
  if (model->loss.label_smoothing > 0.0f && !smooth)
    wml_issue(issues, "loss.label_smoothing",
              "only binary_crossentropy and categorical_crossentropy have it");
  return WEBML_OK;
}

void wml_write_loss(wml_text *t, const wml_loss *loss) {
  bool plain = !loss->from_logits && loss->label_smoothing == 0.0f && loss->delta == 1.0f;
  if (plain) {
    wml_json_string(t, loss_names[loss->kind]);
    return;
  }
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, loss_names[loss->kind]);
  if (loss->kind == WML_HUBER) wml_text_format(t, ",\"delta\":%.9g", (double)loss->delta);
  if (loss->label_smoothing > 0.0f)
    wml_text_format(t, ",\"label_smoothing\":%.9g", (double)loss->label_smoothing);
  if (loss->from_logits) wml_text_string(t, ",\"from_logits\":true");
  wml_json_close(t, '}');
}

/* ---- metrics ---- */

static const struct {
  const char *alias;
  wml_metric_kind kind;
} metric_aliases[] = {{"mae", WML_METRIC_MAE},
                      {"mse", WML_METRIC_MSE},
                      {"rmse", WML_ROOT_MEAN_SQUARED_ERROR},
                      {"top_k_accuracy", WML_TOP_K_CATEGORICAL_ACCURACY},
                      {"ce", WML_METRIC_CROSSENTROPY},
                      {"binary_crossentropy", WML_METRIC_CROSSENTROPY},
                      {"categorical_crossentropy", WML_METRIC_CROSSENTROPY},
                      {"r2", WML_R2_SCORE}};

static webml_status read_metric(wml_arena *arena, const wml_json *json, const char *path,
                                wml_metric_spec *out, bool *ok, wml_issues *issues) {
  const char *name =
      json->kind == WML_JSON_STRING ? json->string : wml_json_get_string(json, "name", NULL);
  int kind = -1;
  *ok = false;
  out->by_shape = name && (strcasecmp(name, "accuracy") == 0 || strcasecmp(name, "acc") == 0);
  if (out->by_shape) kind = WML_BINARY_ACCURACY;
  for (size_t i = 0; name && i < sizeof metric_aliases / sizeof *metric_aliases; i++)
    if (strcasecmp(name, metric_aliases[i].alias) == 0) kind = (int)metric_aliases[i].kind;
  if (kind < 0) kind = read_kind(json, path, metric_names, WML_N_METRICS, issues);
  if (kind < 0) return WEBML_OK;
  out->metric = (wml_metric){.kind = (wml_metric_kind)kind, .k = 5, .threshold = 0.5f};
  double number;
  const wml_json *k = wml_json_get(json, "k"), *threshold = wml_json_get(json, "threshold");
  if (k && wml_number_of(k, &number)) out->metric.k = number >= 1 && number < 1e6 ? (int)number : 5;
  if (threshold && wml_number_of(threshold, &number)) out->metric.threshold = (float)number;
  out->name = wml_arena_copy(arena, name, strlen(name));
  *ok = true;
  return out->name ? WEBML_OK : wml_no_memory(strlen(name), "a metric");
}

webml_status wml_read_metrics(wml_arena *arena, const wml_json *json, webml_model *model,
                              wml_issues *issues) {
  if (!json || json->kind == WML_JSON_NULL) return WEBML_OK;
  bool list = json->kind == WML_JSON_ARRAY;
  if (!list && json->kind != WML_JSON_STRING) {
    wml_issue(issues, "metrics", "must be a list such as [\"accuracy\"]");
    return WEBML_OK;
  }
  int i = 0;
  for (const wml_json *m = list ? json->first : json; m; m = list ? m->next : NULL, i++) {
    char path[32];
    bool ok;
    snprintf(path, sizeof path, "metrics[%d]", i);
    if (i >= WEBML_MAX_METRICS) {
      wml_issue(issues, path, "at most %d metrics", WEBML_MAX_METRICS);
      break;
    }
    WML_TRY(read_metric(arena, m, path, &model->metrics[model->n_metrics], &ok, issues));
    if (ok) model->n_metrics++;
  }
  return WEBML_OK;
}

void wml_write_metrics(wml_text *t, const webml_model *model) {
  wml_json_open(t, '[');
  for (int i = 0; i < model->n_metrics; i++) {
    const wml_metric_spec *m = &model->metrics[i];
    if (m->metric.k == 5 && m->metric.threshold == 0.5f) {
      wml_json_string(t, m->name);
      continue;
    }
    wml_json_open(t, '{');
    wml_json_key(t, "name");
    wml_json_string(t, m->name);
    wml_text_format(t, ",\"k\":%d,\"threshold\":%.9g", m->metric.k, (double)m->metric.threshold);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}
