#include "report.h"

#include "draw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int cli_width(const char *text) {
  int n = 0;
  for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
  return n;
}

void cli_cell(const char *text, int width) {
  int have = cli_width(text);
  if (have <= width) {
    printf("%s%*s", text, width - have, "");
    return;
  }
  for (int n = 0; n < width - 1 || ((unsigned char)*text & 0xC0) == 0x80; text++) {
    if (((unsigned char)*text & 0xC0) != 0x80) n++;
    putchar(*text);
    if (n == width - 1 && ((unsigned char)text[1] & 0xC0) != 0x80) break;
  }
  fputs("\xE2\x80\xA6", stdout);
}

static void print_classes(const json_t *per_class) {
  size_t i;
  json_t *c;
  printf("\n%-24s %9s %9s %9s %9s\n", "class", "samples", "precision", "recall", "f1");
  json_array_foreach(per_class, i, c) {
    cli_cell(json_string_value(json_object_get(c, "class")), 24);
    printf(" %9lld %9.4f %9.4f %9.4f\n",
           (long long)json_integer_value(json_object_get(c, "samples")), cli_real(c, "precision"),
           cli_real(c, "recall"), cli_real(c, "f1"));
  }
}

/* Rows: truth, columns: what was said. Left out where it would not fit 80 columns. */
static void print_confusion(const json_t *confusion, const json_t *per_class) {
  size_t n = json_array_size(confusion), i, k;
  json_t *row, *cell;
  if (n > 10) return;
  printf("\nconfusion (rows: truth, columns: said)\n%-12s", "");
  for (k = 0; k < n; k++) printf(" %5zu", k);
  putchar('\n');
  json_array_foreach(confusion, i, row) {
    printf("%zu ", i);
    cli_cell(json_string_value(json_object_get(json_array_get(per_class, i), "class")), 10);
    json_array_foreach(row, k, cell) printf(" %5lld", (long long)json_integer_value(cell));
    putchar('\n');
  }
}

void cli_print_evaluation(const json_t *e) {
  const char *key;
  json_t *value;
  size_t i;
  printf("samples %lld  loss %.4f", (long long)json_integer_value(json_object_get(e, "samples")),
         cli_real(e, "loss"));
  json_object_foreach(json_object_get(e, "metrics"), key, value)
      printf("  %s %.4f", key, json_number_value(value));
  putchar('\n');
  const json_t *per_class = json_object_get(e, "per_class");
  if (per_class) {
    print_classes(per_class);
    print_confusion(json_object_get(e, "confusion"), per_class);
    return;
  }
  if (!json_object_get(e, "outputs")) return; /* too many classes for a table */
  printf("\n%-24s %12s %12s %9s\n", "output", "MAE", "RMSE", "R2");
  json_array_foreach(json_object_get(e, "outputs"), i, value) {
    cli_cell(json_string_value(json_object_get(value, "name")), 24);
    if (json_object_get(value, "accuracy"))
      printf(" accuracy %.4f\n", cli_real(value, "accuracy"));
    else
      printf(" %12.5g %12.5g %9.4f\n", cli_real(value, "mae"), cli_real(value, "rmse"),
             cli_real(value, "r2"));
  }
}

/* ---- files ---- */

char *cli_path(const char *folder, const char *name) {
  size_t n = strlen(folder) + strlen(name) + 2;
  char *path = malloc(n);
  if (path) snprintf(path, n, "%s/%s", folder, name);
  return path;
}

static FILE *open_file(const char *folder, const char *name) {
  char *path = cli_path(folder, name);
  FILE *f = path ? fopen(path, "w") : NULL;
  if (!f) cli_fail("cannot write %s: %s", path ? path : name, strerror(errno));
  free(path);
  return f;
}

static int close_file(FILE *f, const char *folder, const char *name) {
  bool failed = ferror(f);
  if (fclose(f) == 0 && !failed) return CLI_DONE;
  return cli_fail("cannot write %s/%s: %s", folder, name, strerror(errno));
}

int cli_make_folder(const char *folder) {
  struct stat info;
  if (mkdir(folder, 0777) == 0 || (stat(folder, &info) == 0 && S_ISDIR(info.st_mode)))
    return CLI_DONE;
  return cli_fail("cannot make the folder %s: %s", folder, strerror(errno));
}

/* A cell of a CSV file: in quotes where it needs them. */
static void put_cell(FILE *f, const char *text) {
  if (!strpbrk(text, ",\"\n\r")) {
    fputs(text, f);
    return;
  }
  fputc('"', f);
  for (; *text; text++) {
    if (*text == '"') fputc('"', f);
    fputc(*text, f);
  }
  fputc('"', f);
}

static int write_confusion(const char *folder, const json_t *evaluation) {
  const json_t *confusion = json_object_get(evaluation, "confusion"),
               *classes = json_object_get(evaluation, "per_class");
  size_t i, k;
  json_t *row, *cell;
  FILE *f = open_file(folder, "confusion.csv");
  if (!f) return CLI_FAILED;
  fputs("truth", f);
  json_array_foreach(classes, i, row) {
    fputc(',', f);
    put_cell(f, json_string_value(json_object_get(row, "class")));
  }
  fputc('\n', f);
  json_array_foreach(confusion, i, row) {
    put_cell(f, json_string_value(json_object_get(json_array_get(classes, i), "class")));
    json_array_foreach(row, k, cell) fprintf(f, ",%lld", (long long)json_integer_value(cell));
    fputc('\n', f);
  }
  return close_file(f, folder, "confusion.csv");
}

static void free_tiles(cli_tile *tiles, size_t n) {
  for (size_t i = 0; tiles && i < n; i++) {
    free(tiles[i].pixels);
    free(tiles[i].caption[0]);
    free(tiles[i].caption[1]);
  }
  free(tiles);
}

static int draw_mistakes(const char *path, const json_t *mistakes, const webml_dataset *dataset) {
  enum { SIDE = 96 };
  size_t n = json_array_size(mistakes), i;
  json_t *m;
  cli_tile *tiles = calloc(n, sizeof *tiles);
  if (!tiles) return cli_fail("out of memory");
  json_array_foreach(mistakes, i, m) {
    cli_tile *t = &tiles[i];
    if ((t->pixels = malloc(SIDE * SIDE * 3)) &&
        webml_dataset_picture(dataset, json_integer_value(json_object_get(m, "picture")), SIDE,
                              SIDE, 3, NULL, 0, 0, t->pixels, NULL) != WEBML_OK) {
      free(t->pixels);
      t->pixels = NULL;
    }
    char said[160];
    snprintf(said, sizeof said, "%s %.0f %%", json_string_value(json_object_get(m, "said")),
             100 * cli_real(m, "probability"));
    t->caption[0] = strdup(said);
    t->caption[1] = strdup(json_string_value(json_object_get(m, "class")));
    t->alarm = true;
  }
  int code = cli_draw_sheet(path, "surest mistakes: what was said, and the truth below", tiles,
                            (int)n, SIDE, 120, 5);
  free_tiles(tiles, n);
  return code;
}

int cli_report_evaluation(const char *folder, const json_t *evaluation,
                          const webml_dataset *dataset) {
  const json_t *mistakes = json_object_get(evaluation, "mistakes");
  int code = cli_make_folder(folder);
  FILE *f = code == CLI_DONE ? open_file(folder, "evaluation.json") : NULL;
  if (!f) return CLI_FAILED;
  json_dumpf(evaluation, f, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  fputc('\n', f);
  code = close_file(f, folder, "evaluation.json");
  char *confusion = cli_path(folder, "confusion.png"), *worst = cli_path(folder, "mistakes.png");
  if (!confusion || !worst) code = cli_fail("out of memory");
  if (code == CLI_DONE && json_object_get(evaluation, "confusion")) {
    code = write_confusion(folder, evaluation);
    if (code == CLI_DONE) code = cli_draw_confusion(confusion, evaluation);
  }
  if (code == CLI_DONE && json_array_size(mistakes)) code = draw_mistakes(worst, mistakes, dataset);
  free(confusion);
  free(worst);
  return code;
}

int cli_report_history(const char *folder, const json_t *record) {
  json_t *history = json_object_get(record, "history"), *series;
  const char *name;
  size_t epochs = 0;
  int code = cli_make_folder(folder);
  FILE *f = code == CLI_DONE ? open_file(folder, "curves.csv") : NULL;
  if (!f) return CLI_FAILED;
  fputs("epoch", f);
  json_object_foreach(history, name, series) {
    fprintf(f, ",%s", name);
    if (json_array_size(series) > epochs) epochs = json_array_size(series);
  }
  for (size_t e = 0; e < epochs; e++) {
    fprintf(f, "\n%zu", e + 1);
    json_object_foreach(history, name, series) {
      const json_t *v = json_array_get(series, e);
      if (json_is_number(v))
        fprintf(f, ",%.9g", json_number_value(v));
      else
        fputc(',', f);
    }
  }
  fputc('\n', f);
  code = close_file(f, folder, "curves.csv");
  char *path = cli_path(folder, "curves.png");
  if (code == CLI_DONE) code = path ? cli_draw_curves(path, record) : cli_fail("out of memory");
  free(path);
  return code;
}
