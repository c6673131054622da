/* A data set looked at closely, with what stands in the way of a good training. */
#include "data/dataset.h"
#include "data/images/survey.h"

#include <stdio.h>
#include <string.h>

static void tell(wml_text *t, const char *problem, const char *cure) {
  wml_json_open(t, '{');
  wml_json_key(t, "problem");
  wml_json_string(t, problem);
  wml_json_key(t, "cure");
  wml_json_string(t, cure);
  wml_json_close(t, '}');
}

static void column_problems(wml_text *t, const wml_table *table, const wml_column *c) {
  char text[512];
  const char *about = c->unique_is_estimate ? "about " : "";
  if (c->blocked) {
    snprintf(
        text, sizeof text,
        "column \"%.100s\" is blocked: %s%lld different labels are more than the limit of %lld",
        c->name, about, (long long)c->unique, (long long)table->label_limit);
    tell(t, text, "it is left out by itself; a higher limit of labels would take it in");
  }
  if (c->missing == table->rows) {
    snprintf(text, sizeof text, "column \"%.100s\" is empty", c->name);
    tell(t, text, "leave it out of the inputs");
  } else if (c->missing) {
    snprintf(text, sizeof text, "column \"%.100s\" has %lld missing value%s, the first in row %lld",
             c->name, (long long)c->missing, c->missing == 1 ? "" : "s",
             (long long)c->first_missing + 1);
    tell(t, text, "choose missing: mean, median, most_frequent, category or drop");
  }
  if (c->unique == 1 && !c->missing) {
    snprintf(text, sizeof text, "column \"%.100s\" has one value only", c->name);
    tell(t, text, "it tells nothing: leave it out of the inputs");
  }
  bool counts = c->type == WML_COLUMN_INT && c->max - c->min + 1.0 == (double)table->rows &&
                (c->unique == table->rows || c->unique_is_estimate) && table->rows > 10;
  if (counts) {
    snprintf(text, sizeof text, "column \"%.100s\" looks like the number of the row", c->name);
    tell(t, text, "leave it out of the inputs: it is not known for new rows");
  }
}

static webml_status class_problems(wml_text *t, const wml_pictures *p) {
  char text[512];
  int64_t least = -1, most = 0, validation = 0;
  int64_t *count = wml_calloc((size_t)p->n_classes + 1, sizeof *count); /* training, per class */
  if (!count) return wml_no_memory((size_t)p->n_classes * sizeof *count, "counts of classes");
  for (int64_t i = 0; i < p->n; i++) {
    count[p->list[i].label] += p->list[i].part == WML_PART_TRAINING;
    validation += p->list[i].part == WML_PART_VALIDATION;
  }
  for (int c = 0; c < p->n_classes; c++) {
    if (count[c] == 0) {
      snprintf(text, sizeof text, "class \"%.100s\" has no pictures to train on", p->classes[c]);
      tell(t, text, "add pictures, or remove its folder");
    } else {
      if (least < 0 || count[c] < least) least = count[c];
      if (count[c] > most) most = count[c];
    }
  }
  wml_free(count);
  if (p->n_classes < 2)
    tell(t, "there is only one class", "at least two are needed to learn anything");
  if (least > 0 && most > 10 * least) {
    snprintf(text, sizeof text, "classes differ much in size: %lld to %lld pictures",
             (long long)least, (long long)most);
    tell(t, text, "train with balanced class weights");
  }
  if (!validation)
    tell(t, "there is no validation part", "train with a validation split, such as 0.2");
  return WEBML_OK;
}

static void picture_problems(wml_text *t, const wml_survey *v) {
  char text[256];
  if (v->n_broken) {
    snprintf(text, sizeof text, "%lld picture%s cannot be read", (long long)v->n_broken,
             v->n_broken == 1 ? "" : "s");
    tell(t, text, "mend or remove them, or train with skip_broken");
  }
  if (v->shared_copies) {
    snprintf(text, sizeof text, "%lld pictures are in more than one part",
             (long long)v->shared_copies);
    tell(t, text, "remove them from the training part: validation would look better than it is");
  }
  if (v->mislabelled) {
    snprintf(text, sizeof text, "%lld pictures are in more than one class",
             (long long)v->mislabelled);
    tell(t, text, "decide where each belongs");
  }
  if (v->turned) {
    snprintf(text, sizeof text, "%lld pictures are stored turned (EXIF orientation)",
             (long long)v->turned);
    tell(t, text, "train with exif_orientation to turn them upright");
  }
}

/* Puts "problems" into the object that `t` has just closed. */
static webml_status write_problems(wml_text *t, const webml_dataset *d, const wml_survey *survey) {
  webml_status status = WEBML_OK;
  if (t->failed || t->length == 0) return status;
  t->data[--t->length] = '\0'; /* the closing bracket */
  wml_json_key(t, "problems");
  wml_json_open(t, '[');
  if (d->format == WML_FORMAT_CSV)
    for (int i = 0; i < d->table.n_columns; i++)
      column_problems(t, &d->table, &d->table.columns[i]);
  else {
    status = class_problems(t, &d->pictures);
    if (survey) picture_problems(t, survey);
  }
  wml_json_close(t, ']');
  wml_json_close(t, '}');
  return status;
}

webml_status webml_dataset_inspect(const webml_dataset *d, char **json) {
  if (!d || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "webml_dataset_inspect: dataset and json must not be NULL");
  wml_text t = {0};
  wml_survey survey;
  webml_status status = WEBML_OK;
  bool look = d->format == WML_FORMAT_IMAGES && d->pictures.place != WML_IN_IDX;
  if (look) status = wml_pictures_survey(&d->pictures, &survey);
  if (status == WEBML_OK && d->format == WML_FORMAT_CSV)
    status = wml_table_write_properties(&t, &d->table, true);
  else if (status == WEBML_OK)
    wml_pictures_write_properties(&t, &d->pictures, look ? &survey : NULL);
  if (status == WEBML_OK) status = write_problems(&t, d, look ? &survey : NULL);
  if (status == WEBML_OK) return wml_text_take(&t, json);
  wml_text_free(&t);
  return status;
}
