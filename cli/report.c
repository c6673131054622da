#include "cli.h"

#include <string.h>

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
  printf("\n%-24s %12s %12s %9s\n", "output", "MAE", "RMSE", "R2");
  json_array_foreach(json_object_get(e, "outputs"), i, value) {
    cli_cell(json_string_value(json_object_get(value, "name")), 24);
    printf(" %12.5g %12.5g %9.4f\n", cli_real(value, "mae"), cli_real(value, "rmse"),
           cli_real(value, "r2"));
  }
}
