/* properties.json of a set of pictures. */
#include "data/images/survey.h"

static void write_int(wml_text *t, const char *key, int64_t value) {
  wml_json_key(t, key);
  wml_json_int(t, value);
}

static void write_counts(wml_text *t, const char *key, const wml_pictures *p, int part) {
  wml_json_key(t, key);
  wml_json_open(t, '[');
  int64_t i = 0;
  for (int c = 0; c < p->n_classes; c++) {
    int64_t count = 0;
    if (p->place == WML_IN_IDX)
      for (i = 0; i < p->n; i++) count += p->list[i].label == c && p->list[i].part == part;
    else /* class by class */
      for (; i < p->n && p->list[i].label == c; i++) count += p->list[i].part == part;
    wml_json_int(t, count);
  }
  wml_json_close(t, ']');
}

static void write_size(wml_text *t, const char *key, const int size[2]) {
  wml_json_key(t, key);
  wml_json_open(t, '[');
  wml_json_int(t, size[0]);
  wml_json_int(t, size[1]);
  wml_json_close(t, ']');
}

static void write_survey(wml_text *t, const wml_pictures *p, const wml_survey *v) {
  char name[512];
  wml_json_key(t, "sizes"); /* [width, height] */
  wml_json_open(t, '{');
  write_size(t, "least", v->least);
  write_size(t, "median", v->middle);
  write_size(t, "greatest", v->greatest);
  wml_json_close(t, '}');
  wml_json_key(t, "modes");
  wml_json_open(t, '{');
  for (int i = 0; i < v->n_modes; i++) write_int(t, v->modes[i], v->mode_counts[i]);
  wml_json_close(t, '}');
  write_int(t, "turned", v->turned);
  write_int(t, "copies", v->copies);
  write_int(t, "copies_in_other_parts", v->shared_copies);
  write_int(t, "copies_in_other_classes", v->mislabelled);
  write_int(t, "broken", v->n_broken);
  wml_json_key(t, "broken_files");
  wml_json_open(t, '[');
  for (int64_t i = 0; i < v->n_broken && i < WML_SURVEY_BROKEN; i++) {
    wml_json_open(t, '{');
    wml_json_key(t, "file");
    wml_json_string(t, wml_picture_name(p, v->broken[i], name, sizeof name));
    wml_json_key(t, "why");
    wml_json_string(t, v->why[i]);
    wml_json_close(t, '}');
  }
  wml_json_close(t, ']');
}

void wml_pictures_write_properties(wml_text *t, const wml_pictures *p, const wml_survey *survey) {
  static const char *const places[] = {"folder", "zip", "idx"};
  int64_t n[WML_N_PARTS] = {0};
  for (int64_t i = 0; i < p->n; i++) n[p->list[i].part]++;
  wml_json_open(t, '{');
  wml_json_key(t, "format");
  wml_json_string(t, "images");
  wml_json_key(t, "source");
  wml_json_string(t, places[p->place]);
  wml_json_key(t, "classes");
  wml_json_open(t, '[');
  for (int i = 0; i < p->n_classes; i++) wml_json_string(t, p->classes[i]);
  wml_json_close(t, ']');
  write_int(t, "training", n[WML_PART_TRAINING]);
  write_int(t, "validation", n[WML_PART_VALIDATION]);
  write_int(t, "test", n[WML_PART_TEST]);
  write_counts(t, "training_per_class", p, WML_PART_TRAINING);
  write_counts(t, "validation_per_class", p, WML_PART_VALIDATION);
  write_int(t, "ignored", p->ignored);
  if (p->place == WML_IN_IDX) {
    const int size[2] = {p->width, p->height};
    wml_json_key(t, "sizes");
    wml_json_open(t, '{');
    write_size(t, "least", size);
    write_size(t, "median", size);
    write_size(t, "greatest", size);
    wml_json_close(t, '}');
  } else if (survey)
    write_survey(t, p, survey);
  wml_json_close(t, '}');
}
