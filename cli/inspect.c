/* webml inspect: a data set at a glance, and what stands in the way of training on it. */
#include "data.h"
#include "draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct inspect_call {
  cli_data data;
  webml_augmentation augmentation;
  const char *output;
  int64_t augmented, seed;
  bool as_json;
} inspect_call;

static long long whole(const json_t *object, const char *key) {
  return (long long)json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

/* ---- tables ---- */

/* Bars of eighths, from a blank to a full block. */
static void print_histogram(const json_t *bars) {
  static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  size_t i;
  json_t *bar;
  double most = 1;
  json_array_foreach(bars, i, bar) most = fmax(most, json_number_value(bar));
  json_array_foreach(bars, i, bar) {
    double n = json_number_value(bar);
    fputs(blocks[n > 0 ? 1 + (int)(7 * n / most) : 0], stdout);
  }
}

static void print_range(const json_t *f) {
  char text[64];
  snprintf(text, sizeof text, "%.5g .. %.5g", cli_real(f, "min"), cli_real(f, "max"));
  printf(" %-22s ", text);
  print_histogram(json_object_get(f, "histogram"));
}

static void print_labels(const json_t *f) {
  size_t i;
  json_t *v;
  int room = 39;
  putchar(' ');
  if (json_is_true(json_object_get(f, "blocked"))) {
    fputs("blocked: too many labels", stdout);
    return;
  }
  json_array_foreach(json_object_get(f, "mostFrequent"), i, v) {
    char text[128];
    const json_t *value = json_object_get(v, "value");
    snprintf(text, sizeof text, "%s%s", i ? ", " : "", json_string_value(value));
    int width = cli_width(text);
    if (width > room) {
      if (room > 3) cli_cell(text, room);
      break;
    }
    fputs(text, stdout);
    room -= width;
  }
}

static void print_table(const json_t *p) {
  size_t i;
  json_t *f;
  const char *separator = text_of(p, "separator");
  printf("table: %lld rows, %zu columns, separated by %s\n\n%3s %-14s %-6s %8s %5s %s\n",
         whole(p, "rows"), json_array_size(json_object_get(p, "features")),
         strcmp(separator, "\t") == 0 ? "tabs"
         : *separator == ';'          ? "semicolons"
         : *separator == ','          ? "commas"
                                      : separator,
         "", "column", "type", "distinct", "miss.", "range or most frequent labels");
  json_array_foreach(json_object_get(p, "features"), i, f) {
    char distinct[32];
    printf("%3zu ", i);
    cli_cell(text_of(f, "feature"), 14);
    snprintf(distinct, sizeof distinct, "%s%lld",
             json_is_true(json_object_get(f, "uniqueValuesEstimated")) ? "~" : "",
             whole(f, "uniqueValues"));
    printf(" %-6s %8s %5lld", text_of(f, "dataType"), distinct, whole(f, "missing"));
    if (json_is_true(json_object_get(f, "isLabel")))
      print_labels(f);
    else if (whole(f, "uniqueValues"))
      print_range(f);
    putchar('\n');
  }
}

/* ---- pictures ---- */

static void print_looks(const json_t *p) {
  const json_t *sizes = json_object_get(p, "sizes"), *modes = json_object_get(p, "modes");
  const char *names[] = {"least", "median", "greatest"}, *mode;
  json_t *count;
  if (sizes) {
    fputs("\nsizes", stdout);
    for (int i = 0; i < 3; i++) {
      const json_t *s = json_object_get(sizes, names[i]);
      printf("%s %s %lldx%lld", i ? "," : "", names[i],
             (long long)json_integer_value(json_array_get(s, 0)),
             (long long)json_integer_value(json_array_get(s, 1)));
    }
    putchar('\n');
  }
  if (modes) {
    fputs("colours", stdout);
    json_object_foreach((json_t *)(uintptr_t)modes, mode, count)
        printf(" %s %lld ", mode, (long long)json_integer_value(count));
    putchar('\n');
  }
  if (json_object_get(p, "copies"))
    printf("broken %lld, copies %lld, other files %lld\n", whole(p, "broken"), whole(p, "copies"),
           whole(p, "ignored"));
}

static void print_images(const json_t *p) {
  size_t i;
  json_t *name, *training = json_object_get(p, "training_per_class"),
                *validation = json_object_get(p, "validation_per_class");
  json_int_t most = 1;
  json_array_foreach(training, i, name) {
    if (json_integer_value(name) > most) most = json_integer_value(name);
  }
  printf("images: %lld for training, %lld for validation, %zu classes\n\n%-26s %9s %10s\n",
         whole(p, "training"), whole(p, "validation"),
         json_array_size(json_object_get(p, "classes")), "class", "training", "validation");
  json_array_foreach(json_object_get(p, "classes"), i, name) {
    json_int_t count = json_integer_value(json_array_get(training, i));
    cli_cell(json_string_value(name), 26);
    printf(" %9lld %10lld  ", (long long)count,
           (long long)json_integer_value(json_array_get(validation, i)));
    for (json_int_t k = 0; k < (count * 28 + most - 1) / most; k++) putchar('#');
    putchar('\n');
  }
  print_looks(p);
  json_array_foreach(json_object_get(p, "broken_files"), i, name)
      printf("  %s: %s\n", text_of(name, "file"), text_of(name, "why"));
}

static void print_problems(const json_t *p) {
  size_t i;
  json_t *problem;
  json_array_foreach(json_object_get(p, "problems"), i, problem) {
    if (i == 0) fputs("\nin the way of training\n", stdout);
    printf("  %s;\n    %s\n", text_of(problem, "problem"), text_of(problem, "cure"));
  }
}

/* ---- contact sheets ---- */

enum { SIDE = 96, SHOWN = 120, MOST_TILES = 400 };

static int fill_tile(const webml_dataset *dataset, int64_t picture, const webml_augmentation *a,
                     uint64_t seed, int64_t epoch, cli_tile *tile, char **json) {
  tile->pixels = malloc(SIDE * SIDE * 3);
  if (!tile->pixels) return cli_fail("out of memory");
  webml_status status =
      webml_dataset_picture(dataset, picture, SIDE, SIDE, 3, a, seed, epoch, tile->pixels, json);
  if (status == WEBML_OK) return CLI_DONE;
  free(tile->pixels);
  tile->pixels = NULL;
  return status == WEBML_ERROR_PARSE ? CLI_DONE : cli_fail_last(); /* broken: an empty tile */
}

/* The first picture of each class; classes without one are left out. */
static int examples(const webml_dataset *dataset, const json_t *p, cli_tile *tiles, int *n) {
  const json_t *classes = json_object_get(p, "classes");
  int64_t total = whole(p, "training") + whole(p, "validation") + whole(p, "test");
  bool idx = strcmp(text_of(p, "source"), "idx") == 0;
  size_t wanted = json_array_size(classes), seen = 0;
  bool *have = calloc(wanted + 1, sizeof *have);
  if (!have) return cli_fail("out of memory");
  int64_t step = 1, at = 0;
  for (size_t i = 0; at < total && seen < wanted && *n < MOST_TILES; at += step) {
    char *text = NULL;
    cli_tile *tile = &tiles[*n];
    if (fill_tile(dataset, at, NULL, 0, 0, tile, &text) != CLI_DONE) {
      free(have);
      return CLI_FAILED;
    }
    if (!tile->pixels) continue;
    json_t *facts = cli_json(text);
    const char *class = text_of(facts, "class");
    for (i = 0; i < wanted; i++)
      if (strcmp(json_string_value(json_array_get(classes, i)), class) == 0) break;
    if (i < wanted && !have[i]) {
      have[i] = true;
      seen++;
      tile->caption[0] = strdup(class);
      (*n)++;
      /* Files lie class by class: on to the next class. */
      if (!idx)
        at += (int64_t)json_integer_value(
                  json_array_get(json_object_get(p, "training_per_class"), i)) +
              (int64_t)json_integer_value(
                  json_array_get(json_object_get(p, "validation_per_class"), i)) -
              1;
    } else {
      free(tile->pixels);
      tile->pixels = NULL;
    }
    json_decref(facts);
  }
  free(have);
  return CLI_DONE;
}

/* Eight pictures spread over the set, each as it is and as in the first epochs. */
static int augmented(const inspect_call *c, const webml_dataset *dataset, const json_t *p,
                     cli_tile *tiles, int *n) {
  int64_t total = whole(p, "training") + whole(p, "validation") + whole(p, "test");
  int64_t pictures = (c->augmented + 7) / 8;
  for (int64_t i = 0; i < pictures; i++)
    for (int k = 0; k < 8 && *n < MOST_TILES; k++) {
      char caption[32];
      cli_tile *tile = &tiles[*n];
      int64_t picture = total * i / pictures;
      if (fill_tile(dataset, picture, k ? &c->augmentation : NULL, (uint64_t)c->seed, k - 1, tile,
                    NULL) != CLI_DONE)
        return CLI_FAILED;
      if (k)
        snprintf(caption, sizeof caption, "epoch %d", k);
      else
        snprintf(caption, sizeof caption, "as it is");
      tile->caption[0] = strdup(caption);
      (*n)++;
    }
  return CLI_DONE;
}

static int draw_sheet(const inspect_call *c, const webml_dataset *dataset, const json_t *p) {
  if (strcmp(text_of(p, "format"), "images") != 0)
    return cli_fail("a contact sheet needs pictures, but %s is a table", c->data.path);
  cli_tile *tiles = calloc(MOST_TILES + 1, sizeof *tiles);
  int n = 0, code = tiles ? CLI_DONE : cli_fail("out of memory");
  if (code == CLI_DONE)
    code = c->augmented ? augmented(c, dataset, p, tiles, &n) : examples(dataset, p, tiles, &n);
  if (code == CLI_DONE)
    code = cli_draw_sheet(c->output,
                          c->augmented ? "augmented pictures, as a training sees them"
                                       : "one example per class",
                          tiles, n, SIDE, SHOWN, 8);
  for (int i = 0; tiles && i < n; i++) {
    free(tiles[i].pixels);
    free(tiles[i].caption[0]);
  }
  free(tiles);
  if (code == CLI_DONE && !c->as_json) printf("\n%d pictures: %s\n", n, c->output);
  return code;
}

/* ---- the command ---- */

static int inspect(const inspect_call *c) {
  webml_dataset *dataset = NULL;
  char *text = NULL;
  webml_status status = webml_dataset_open(c->data.path, &c->data.options, &dataset);
  if (status == WEBML_OK) status = webml_dataset_inspect(dataset, &text);
  if (status != WEBML_OK) {
    webml_dataset_destroy(dataset);
    return cli_fail_last();
  }
  json_t *properties = cli_json(text);
  if (c->as_json)
    cli_dump(properties, 15);
  else {
    if (strcmp(text_of(properties, "format"), "csvdata") == 0)
      print_table(properties);
    else
      print_images(properties);
    print_problems(properties);
  }
  int code = c->output ? draw_sheet(c, dataset, properties) : CLI_DONE;
  json_decref(properties);
  webml_dataset_destroy(dataset);
  return code;
}

static int run_inspect(int argc, char **argv) {
  inspect_call c = {.data = {.options = {.struct_size = sizeof c.data.options}}};
  const cli_option sheet[] = {
      {"json", CLI_FLAG, &c.as_json, NULL, "print properties.json"},
      {"o", CLI_TEXT, &c.output, "FILE.png", "images: draw one example per class"},
      {"augment", CLI_INTEGER, &c.augmented, "N", "images: draw N as a training sees them"},
      {"seed", CLI_INTEGER, &c.seed, "S", "of the training"},
  };
  cli_option own[sizeof sheet / sizeof *sheet + CLI_AUGMENTATION_OPTIONS],
      options[sizeof own / sizeof *own + CLI_DATA_OPTIONS];
  size_t count =
      cli_augmentation_options(&c.augmentation, sheet, sizeof sheet / sizeof *sheet, own);
  count = cli_data_options(&c.data, own, count, options);
  int n = cli_parse(&cli_inspect, options, (int)count, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&c.data) != CLI_DONE) return CLI_WRONG_USE;
  if (c.augmented < 0 || c.augmented > MOST_TILES)
    return cli_wrong_use("--augment takes 1 to %d", MOST_TILES);
  if (c.augmented && !c.output) return cli_wrong_use("--augment needs -o FILE.png");
  c.data.path = argv[0];
  return inspect(&c);
}

const cli_command cli_inspect = {"inspect", "PATH", "show what a data set holds",
                                 1,         1,      run_inspect};
