#include "data.h"

#include <string.h>

size_t cli_data_options(cli_data *d, const cli_option *own, size_t n, cli_option *out) {
  webml_dataset_options *o = &d->options;
  const cli_option shared[CLI_DATA_OPTIONS] = {
      {"inputs", CLI_TEXT, &o->inputs, "COLS", "input columns, by name or index, with commas"},
      {"outputs", CLI_TEXT, &o->outputs, "COLS", "output columns (the last)"},
      {"one-hot", CLI_TEXT, &o->one_hot, "COLS", "numeric columns to one-hot encode too"},
      {"missing", CLI_TEXT, &o->missing, "HOW",
       "gaps: refuse, mean, median, most_frequent,\n                             category or drop; "
       "Age=mean,... for columns"},
      {"scale", CLI_TEXT, &o->scale, "HOW", "numbers: standard, minmax, none; Age=none,..."},
      {"separator", CLI_TEXT, &d->separator, "C", "of the CSV file: , ; or tab (found out)"},
      {"label-limit", CLI_INTEGER, &o->label_limit, "N",
       "most labels of a column to encode (1000)"},
      {"validation-split", CLI_NUMBER, &o->validation_split, "V",
       "share kept for validation, 0 to 1"},
      {"validation-data", CLI_TEXT, &o->validation_path, "FILE", "a second table that validates"},
      {"test-split", CLI_NUMBER, &o->test_split, "V", "share kept away for a test, 0 to 1"},
      {"split", CLI_TEXT, &d->split, "HOW", "last, random or stratified (last)"},
      {"split-seed", CLI_INTEGER, &d->split_seed, "S", "of random and stratified splits (0)"},
      {"skip-broken", CLI_FLAG, &o->skip_broken, NULL, "leave out images that cannot be read"},
      {"classes", CLI_TEXT, &o->classes, "NAMES", "image classes to take, in this order"},
      {"resize", CLI_TEXT, &d->resize, "HOW", "images: nearest, bilinear or area (nearest)"},
      {"exif", CLI_FLAG, &o->exif_orientation, NULL, "images: turn as EXIF says"},
      {"cache", CLI_TEXT, &o->cache, "DIR", "for packed data, or none (~/.cache/webml)"},
  };
  memcpy(out, own, n * sizeof *own);
  for (size_t i = 0; i < CLI_DATA_OPTIONS && shared[i].name; i++) out[n++] = shared[i];
  return n;
}

/* Index of the word among the three; -1. NULL is the first. */
static int word(const char *text, const char *a, const char *b, const char *c) {
  if (!text || strcmp(text, a) == 0) return 0;
  return strcmp(text, b) == 0 ? 1 : strcmp(text, c) == 0 ? 2 : -1;
}

int cli_data_settle(cli_data *d) {
  int split = word(d->split, "last", "random", "stratified"),
      resize = word(d->resize, "nearest", "bilinear", "area");
  if (split < 0)
    return cli_wrong_use("--split takes last, random or stratified, not \"%s\"", d->split);
  if (resize < 0)
    return cli_wrong_use("--resize takes nearest, bilinear or area, not \"%s\"", d->resize);
  const char *s = d->separator;
  bool tab = s && (strcmp(s, "tab") == 0 || strcmp(s, "\\t") == 0);
  if (s && !tab && (strlen(s) != 1 || *s == '"' || *s == '\n' || *s == '\r'))
    return cli_wrong_use("--separator takes one character or tab, not \"%s\"", s);
  if (d->split_seed < 0) return cli_wrong_use("--split-seed must not be negative");
  d->options.split = (webml_split)split;
  d->options.resize = (webml_resize)resize;
  d->options.separator = tab ? '\t' : s ? *s : '\0';
  d->options.split_seed = (uint64_t)d->split_seed;
  return CLI_DONE;
}

size_t cli_augmentation_options(webml_augmentation *a, const cli_option *own, size_t n,
                                cli_option *out) {
  const cli_option shared[CLI_AUGMENTATION_OPTIONS] = {
      {"rotation-range", CLI_NUMBER, &a->rotation_range, "D", "images: rotate by up to D degrees"},
      {"shear-range", CLI_NUMBER, &a->shear_range, "D",
       "images: shear by up to D degrees (not 0.2!)"},
      {"zoom-range", CLI_NUMBER, &a->zoom_range, "Z", "images: zoom by 1-Z to 1+Z"},
      {"width-shift", CLI_NUMBER, &a->width_shift, "S", "images: move by up to this share"},
      {"height-shift", CLI_NUMBER, &a->height_shift, "S", "images: the same, up and down"},
      {"random-crop", CLI_NUMBER, &a->random_crop, "C", "images: cut windows of 1-C to 1"},
      {"brightness", CLI_NUMBER, &a->brightness, "B", "images: brighten by 1-B to 1+B"},
      {"horizontal-flip", CLI_FLAG, &a->horizontal_flip, NULL, "images: mirror every other one"},
      {"vertical-flip", CLI_FLAG, &a->vertical_flip, NULL, "images: turn over every other one"},
      {"channel-shift", CLI_NUMBER, &a->channel_shift, "C",
       "images: add -C to C (of 255) to all channels"},
      {"fill-mode", CLI_FILL, &a->fill, "HOW",
       "beyond the edges: nearest, constant, reflect\n                             or wrap "
       "(nearest)"},
      {"fill-value", CLI_NUMBER, &a->fill_value, "V", "of the fill constant, 0 to 255 (0)"},
  };
  memcpy(out, own, n * sizeof *own);
  memcpy(out + n, shared, sizeof shared);
  return n + CLI_AUGMENTATION_OPTIONS;
}
