/* Tables and lists of pictures from the inside: splitting text against libcsv, blocks and threads,
 * distinct values, splits, compact rows, caches, layouts of folders. */
#include "base/file.h"
#include "data/dataset.h"
#include "data/table/cells.h"
#include "data/table/distinct.h"
#include "support.h"

#include <csv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- splitting against libcsv ---- */

typedef struct expected {
  char cells[4096][24];
  size_t n, rows, in_row, columns;
  bool ragged, too_long;
} expected;

static void on_cell(void *bytes, size_t n, void *arg) {
  expected *e = arg;
  if (n >= sizeof e->cells[0] || e->n == 4096) {
    e->too_long = true;
    return;
  }
  memcpy(e->cells[e->n], bytes, n);
  e->cells[e->n++][n] = '\0';
  e->in_row++;
}

static void on_row(int c, void *arg) {
  expected *e = arg;
  (void)c;
  if (!e->columns) e->columns = e->in_row;
  e->ragged |= e->in_row != e->columns;
  e->in_row = 0;
  e->rows++;
}

static int pick(test_random *r, int n) {
  return (int)(test_uniform(r) * n);
}

/* Mostly tidy text: with `wild`, quotes and ends of lines stand anywhere. */
static size_t make_text(test_random *r, bool wild, char separator, char *out) {
  static const char *const pieces[] = {"a",     "42",       "-1.5", "  x ", "\"q\"", "\"a\"\"b\"",
                                       "\" \"", "\"c\nd\"", "",     "\"\"", "é",     "a b"};
  size_t n = 0;
  int columns = 1 + pick(r, 4), rows = pick(r, 12);
  for (int y = 0; y < rows; y++) {
    for (int x = 0; x < columns; x++) {
      const char *piece = pieces[pick(r, sizeof pieces / sizeof *pieces)];
      if (x) out[n++] = separator;
      if (pick(r, 8) == 0) out[n++] = ' ';
      n += (size_t)sprintf(out + n, "%s", piece);
      if (pick(r, 8) == 0) out[n++] = separator == '\t' ? ' ' : '\t';
      if (wild && pick(r, 10) == 0) out[n++] = "\"\r\n,x"[pick(r, 5)];
    }
    if (y + 1 == rows && pick(r, 2)) break;
    static const char *const ends[] = {"\n", "\r\n", "\r", "\n\n"};
    n += (size_t)sprintf(out + n, "%s", ends[pick(r, 4)]);
  }
  return n;
}

static void test_splitting(void) {
  test_random r = {11};
  int common = 0, uncommon = 0, ragged = 0;
  static expected e;
  static char text[4096];
  for (int round = 0; round < 20000; round++) {
    char separator = ",;\t"[round % 3];
    size_t n = make_text(&r, round % 2, separator, text), bad_row = 0;
    wml_cells c = {.name = "text"};
    bool strange = false;
    CHECK(wml_cells_reserve(&c, n + 1) == WEBML_OK);
    memcpy(c.text, text, n);
    c.size = n;
    webml_status status = wml_cells_split(&c, separator, &strange, &bad_row);
    if (strange) {
      uncommon++;
      wml_cells_free(&c);
      continue;
    }
    struct csv_parser parser;
    csv_init(&parser, 0);
    csv_set_delim(&parser, (unsigned char)separator);
    e.n = e.rows = e.in_row = e.columns = 0;
    e.ragged = e.too_long = false;
    csv_parse(&parser, text, n, on_cell, on_row, &e);
    csv_fini(&parser, on_cell, on_row, &e);
    csv_free(&parser);
    if (e.too_long) {
      wml_cells_free(&c);
      continue;
    }
    CHECKF((status != WEBML_OK) == e.ragged, "round %d: %s", round, text);
    ragged += e.ragged;
    if (!e.ragged) {
      common++;
      bool same = c.n == e.n && c.rows == e.rows;
      for (size_t i = 0; same && i < c.n; i++)
        same = strlen(e.cells[i]) == c.cells[i].length &&
               memcmp(e.cells[i], c.text + c.cells[i].at, c.cells[i].length) == 0;
      CHECKF(same, "round %d: libcsv reads \"%.*s\" otherwise", round, (int)n, text);
    }
    wml_cells_free(&c);
  }
  CHECKF(common > 8000 && uncommon > 1000 && ragged > 500, "%d, %d, %d of each kind", common,
         uncommon, ragged);
}

/* ---- whole tables: blocks, threads, caches ---- */

/* Everything that callers can see of a table, as text. */
static char *describe(const wml_table *t) {
  wml_text x = {0};
  wml_scratch scratch = {0};
  double *values = test_alloc((size_t)wml_table_block_rows(t) * sizeof *values);
  CHECK_OK(wml_table_write_properties(&x, t, true));
  for (int i = 0; i < t->n_columns; i++)
    for (int64_t b = 0; b < t->n_blocks; b++) {
      const uint8_t *bytes = NULL;
      CHECK_OK(wml_table_block(t, b, &scratch, &bytes));
      wml_block_column(t, b, bytes, i, values);
      for (int64_t r = 0; r < t->blocks[b].rows; r++) wml_text_format(&x, " %.17g", values[r]);
    }
  free(values);
  wml_free(scratch.bytes);
  return x.data;
}

static char *table_text(int rows, bool quotes, size_t *size) {
  wml_text x = {0};
  test_random r = {5};
  wml_text_string(&x, "id,whole,number,label,many,flag,late\r\n");
  for (int i = 0; i < rows; i++) {
    wml_text_format(&x, "%d,%d,", i, pick(&r, 7) - 3);
    if (pick(&r, 10) == 0)
      wml_text_string(&x, "NA,");
    else
      wml_text_format(&x, "%.6g,", test_uniform(&r) * 1e4 - 5e3);
    if (quotes && pick(&r, 3) == 0)
      wml_text_format(&x, "\"l %d, \"\"x\"\"\nend\",", pick(&r, 5));
    else
      wml_text_format(&x, " l%d ,", pick(&r, 5));
    wml_text_format(&x, "m%d,%d,", pick(&r, 3000), pick(&r, 2));
    wml_text_format(&x, i == rows - 2 ? "text\n" : "%d\n", i % 10);
  }
  *size = x.length;
  return x.data;
}

static void test_blocks(void) {
  for (int quotes = 0; quotes < 2; quotes++) {
    size_t size;
    char *text = table_text(3000, quotes, &size), *first = NULL;
    static const size_t bytes[] = {0, 300, 4096, 65536};
    for (int k = 0; k < 12; k++) {
      wml_table_options o = {.block_bytes = bytes[k % 4], .helpers = 1 + k / 4};
      wml_table t;
      CHECK_OK(wml_table_parse(text, size, "table", &o, &t));
      char *now = describe(&t);
      CHECK(t.rows == 3000 && t.columns[6].type == WML_COLUMN_LABEL && t.columns[4].blocked);
      if (!first)
        first = now;
      else {
        /* Figures are sums over blocks: equal to the last bits. */
        const char *a = strstr(first, "\"separator\""), *b = strstr(now, "\"separator\"");
        double x = 0, y = 0;
        int64_t differences = 0;
        while (*a && *b) {
          char *ae, *be;
          if (*a == *b && !(*a >= '0' && *a <= '9')) {
            a++, b++;
            continue;
          }
          x = strtod(a, &ae), y = strtod(b, &be);
          if (ae == a || be == b || fabs(x - y) > 1e-9 * fabs(x) + 1e-12) {
            differences++;
            break;
          }
          a = ae, b = be;
        }
        CHECKF(differences == 0 && !*a && !*b, "blocks of %zu, %d threads: %.60s / %.60s",
               o.block_bytes, o.helpers, a, b);
        wml_free(now);
      }
      wml_table_free(&t);
    }
    wml_free(first);
    wml_free(text);
  }
}

/* The same bits for the same size of blocks, whatever the number of threads. */
static void test_threads(void) {
  size_t size;
  char *text = table_text(3000, true, &size), *one = NULL;
  for (int helpers = 1; helpers <= 4; helpers++) {
    wml_table_options o = {.block_bytes = 2000, .helpers = helpers};
    wml_table t;
    CHECK_OK(wml_table_parse(text, size, "table", &o, &t));
    char *now = describe(&t);
    if (one) {
      CHECKF(strcmp(one, now) == 0, "%d threads give other bits than one", helpers);
      wml_free(now);
    } else
      one = now;
    wml_table_free(&t);
  }
  wml_free(one);
  wml_free(text);
}

static void test_uncommon(void) {
  /* Quotes inside a cell: libcsv keeps them. */
  const char text[] = "size,n\n5\" pipe,1\n3\" pipe,2\ny\"\",3\n";
  wml_table t;
  CHECK_OK(wml_table_parse(text, sizeof text - 1, "pipes", NULL, &t));
  CHECK(t.rows == 3 && t.columns[0].unique == 3);
  CHECK(t.columns[0].values && strcmp(t.columns[0].values[1], "5\" pipe") == 0);
  wml_table_free(&t);
  const char ragged[] = "a,b\n1,2\n3\"x,4\n5\n";
  CHECK_STATUS(WEBML_ERROR_PARSE, wml_table_parse(ragged, sizeof ragged - 1, "pipes", NULL, &t));
  CHECK_ERROR("row 3: 1 field where the header has 2");
  /* A quote that is never closed swallows the rest, as libcsv has it. */
  const char open[] = "a,b\n1,\"2\n3,4\n";
  CHECK_OK(wml_table_parse(open, sizeof open - 1, "open", NULL, &t));
  CHECK(t.rows == 1);
  wml_table_free(&t);
}

static void write_file(const char *path, const char *text, size_t size) {
  FILE *f = fopen(path, "wb");
  CHECK(f && fwrite(text, 1, size, f) == size && fclose(f) == 0);
}

static void test_table_cache(void) {
  char folder[] = "/tmp/webml-data-test-XXXXXX", source[64], cache[64], lock[80];
  CHECK(mkdtemp(folder) != NULL);
  snprintf(source, sizeof source, "%s/t.csv", folder);
  snprintf(cache, sizeof cache, "%s/t.table", folder);
  snprintf(lock, sizeof lock, "%s.lock", cache);
  size_t size;
  char *text = table_text(3000, true, &size);
  write_file(source, text, size);
  wml_table_options o = {.cache = cache, .block_bytes = 20000, .cache_from = 1};
  wml_table made, read;
  CHECK_OK(wml_table_read(source, &o, &made));
  char *a = describe(&made);
  CHECK_OK(wml_table_read(source, &o, &read));
  char *b = describe(&read);
  CHECK(made.fingerprint == read.fingerprint && read.cache >= 0);
  CHECK(strcmp(a, b) == 0);
  wml_table_free(&made);
  wml_table_free(&read);
  wml_free(b);
  /* A damaged block is found when it is read, and the file is made anew. */
  FILE *f = fopen(cache, "r+b");
  CHECK(f && fseek(f, WML_TABLE_CACHE_HEADER + 4000, SEEK_SET) == 0 && fputc(0x55, f) == 0x55 &&
        fputc(0xAA, f) == 0xAA && fclose(f) == 0);
  CHECK_OK(wml_table_read(source, &o, &read));
  wml_scratch scratch = {0};
  const uint8_t *bytes;
  CHECK_STATUS(WEBML_ERROR_IO, wml_table_block(&read, 0, &scratch, &bytes));
  CHECK_ERROR("damaged");
  CHECK(access(cache, F_OK) != 0);
  wml_free(scratch.bytes);
  wml_table_free(&read);
  /* Cut off or of another source: made anew without a word. */
  CHECK_OK(wml_table_read(source, &o, &read));
  wml_table_free(&read);
  CHECK(truncate(cache, 5000) == 0);
  CHECK_OK(wml_table_read(source, &o, &read));
  b = describe(&read);
  CHECK(strcmp(a, b) == 0);
  wml_free(b);
  wml_table_free(&read);
  write_file(source, "a,b\n1,2\n", 8);
  CHECK_OK(wml_table_read(source, &o, &read));
  CHECK(read.rows == 1 && read.n_columns == 2);
  wml_table_free(&read);
  wml_free(a);
  wml_free(text);
  unlink(source), unlink(cache), unlink(lock), rmdir(folder);
}

/* ---- distinct values ---- */

static void test_distinct(void) {
  static const int64_t counts[] = {10, 1000, 1001, 5000, 50000, 1000000};
  for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
    wml_distinct a, b;
    CHECK_OK(wml_distinct_init(&a, 1000, false));
    for (int i = 0; i < 50; i++)
      CHECK_OK(wml_distinct_add(&a, wml_distinct_key_of_number(-7), 1, NULL));
    wml_distinct_settle(&a);
    CHECK_OK(wml_distinct_start_like(&a, &b, false));
    for (int64_t i = 0; i < counts[k]; i++) {
      CHECK_OK(
          wml_distinct_add(i % 2 ? &a : &b, wml_distinct_key_of_number((double)i * 0.5), 1, NULL));
      if (i % 100 == 0) CHECK_OK(wml_distinct_add(&b, wml_distinct_key_of_number(-7), 1, NULL));
    }
    CHECK_OK(wml_distinct_merge(&a, &b));
    int64_t n = wml_distinct_count(&a), want = counts[k] + 1;
    CHECK(wml_distinct_is_estimate(&a) == (want > 1000));
    CHECKF(want > 1000 ? fabs((double)(n - want)) < 0.05 * (double)want : n == want,
           "%lld values counted as %lld", (long long)want, (long long)n);
    wml_frequent top[2];
    CHECK(wml_distinct_top(&a, 2, top) > 0 && wml_distinct_number_of_key(top[0].key) == -7.0);
    CHECKF(top[0].count == 50 + (counts[k] + 99) / 100, "the count of a frequent value is exact");
    wml_distinct_free(&a);
    wml_distinct_free(&b);
  }
}

/* ---- splits ---- */

static void count_parts(const uint8_t *parts, const int32_t *classes, int class, int64_t n,
                        int64_t out[WML_N_PARTS]) {
  for (int p = 0; p < WML_N_PARTS; p++) out[p] = 0;
  for (int64_t i = 0; i < n; i++)
    if (parts[i] != WML_PART_NONE && (class < 0 || classes[i] == class)) out[parts[i]]++;
}

static void test_splits(void) {
  enum { N = 1000 };
  uint8_t parts[N], again[N], folds[N];
  int32_t classes[N];
  int64_t n[WML_N_PARTS];
  for (int i = 0; i < N; i++) classes[i] = i % 10 == 0 ? 2 : i % 3 == 0;
  wml_split_options o = {.how = WEBML_SPLIT_LAST, .validation = 0.2, .test = 0.1};
  memset(parts, 0, N);
  CHECK_OK(wml_split_assign(&o, N, NULL, 1, false, parts));
  for (int i = 0; i < N; i++)
    CHECK(parts[i] == (i < 700   ? WML_PART_TRAINING
                       : i < 900 ? WML_PART_VALIDATION
                                 : WML_PART_TEST));
  o.test = 0.0; /* Keras: floor(n (1 - v)) rows train */
  o.validation = 0.3;
  memset(parts, 0, N);
  CHECK_OK(wml_split_assign(&o, 7, NULL, 1, false, parts));
  CHECK(parts[3] == WML_PART_TRAINING && parts[4] == WML_PART_VALIDATION);
  o = (wml_split_options){.how = WEBML_SPLIT_STRATIFIED, .validation = 0.2, .test = 0.1, .seed = 3};
  memset(parts, 0, N);
  memset(parts + 10, WML_PART_NONE, 5);
  memcpy(again, parts, N);
  CHECK_OK(wml_split_assign(&o, N, classes, 3, false, parts));
  CHECK_OK(wml_split_assign(&o, N, classes, 3, false, again));
  CHECK(memcmp(parts, again, N) == 0);
  for (int c = 0; c < 3; c++) {
    count_parts(parts, classes, c, N, n);
    double all = (double)(n[0] + n[1] + n[2]);
    CHECKF(fabs((double)n[1] - 0.2 * all) <= 1 && fabs((double)n[2] - 0.1 * all) <= 1,
           "class %d: %lld, %lld, %lld", c, (long long)n[0], (long long)n[1], (long long)n[2]);
  }
  for (int i = 10; i < 15; i++) CHECK(parts[i] == WML_PART_NONE);
  o.seed = 4;
  CHECK_OK(wml_split_assign(&o, N, classes, 3, false, again));
  CHECK(memcmp(parts, again, N) != 0);
  for (int how = 0; how < 3; how++) { /* every sample validates once */
    memset(folds, 0, N);
    for (int k = 0; k < 4; k++) {
      o = (wml_split_options){.how = (webml_split)how, .seed = 9, .folds = 4, .fold = k};
      memset(parts, 0, N);
      CHECK_OK(
          wml_split_assign(&o, N, how == WEBML_SPLIT_STRATIFIED ? classes : NULL, 3, false, parts));
      count_parts(parts, classes, -1, N, n);
      CHECK(n[0] == 750 && n[1] == 250 && n[2] == 0);
      for (int i = 0; i < N; i++)
        folds[i] = (uint8_t)(folds[i] + (parts[i] == WML_PART_VALIDATION));
    }
    for (int i = 0; i < N; i++) CHECK(folds[i] == 1);
  }
  static const wml_split_options wrong[] = {{.validation = 1.0},
                                            {.validation = -0.1},
                                            {.validation = NAN},
                                            {.validation = 0.6, .test = 0.5},
                                            {.folds = 1},
                                            {.folds = 3, .fold = 3},
                                            {.folds = 3, .validation = 0.1}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    CHECK_STATUS(WEBML_ERROR_ARGUMENT, wml_split_check(&wrong[i]));
}

static void test_expand(void) {
  const float cells[] = {2.5f, 2, -1, 0, -3}, want[] = {2.5f, 0, 0, 1, 0, 0, 1, 0, 0, -3};
  const int32_t widths[] = {1, 3, 2, 3, 1};
  float out[10];
  wml_expand_row(cells, widths, 5, out);
  CHECK(memcmp(out, want, sizeof want) == 0);
}

/* ---- layouts ---- */

static webml_status arrange(const char *const *names, const char *class_list, wml_pictures *p) {
  wml_entries e = {0};
  *p = (wml_pictures){.path = "set"};
  for (int i = 0; names[i]; i++) {
    size_t n = strlen(names[i]);
    bool folder = names[i][n - 1] == '/';
    CHECK_OK(wml_entries_add(&e, &p->arena, names[i], n - folder, i, folder));
  }
  wml_entries_sort(&e);
  webml_status status = wml_pictures_arrange(p, &e, class_list);
  wml_free(e.items);
  return status;
}

static void test_layouts(void) {
  wml_pictures p;
  const char *const plain[] = {"b/2.png",  "b/10.JPG",    "a/x/1.png", "a/z.png",
                               "B/1.jpeg", "a/notes.txt", "empty/",    NULL};
  CHECK_OK(arrange(plain, NULL, &p));
  CHECK(p.n == 5 && p.n_classes == 4 && p.ignored == 1 && !p.own_validation);
  CHECK(strcmp(p.classes[0], "B") == 0 && strcmp(p.classes[3], "empty") == 0);
  CHECK(strcmp(p.list[1].name, "a/z.png") == 0 && strcmp(p.list[2].name, "a/x/1.png") == 0 &&
        strcmp(p.list[3].name, "b/10.JPG") == 0);
  wml_pictures_free(&p);
  const char *const wrapped[] = {"all/training_data/x/1.png", "all/training_data/y/1.png",
                                 "all/validation_data/x/1.png", "all/properties.json", NULL};
  CHECK_OK(arrange(wrapped, NULL, &p));
  CHECK(p.n == 3 && p.n_classes == 2 && p.own_validation && p.list[1].part == WML_PART_VALIDATION);
  wml_pictures_free(&p);
  const char *const deep[] = {"set/", "set/x/1.png", "set/y/2.png", NULL};
  CHECK_OK(arrange(deep, NULL, &p));
  CHECK(p.n == 2 && p.n_classes == 2 && strcmp(p.classes[1], "y") == 0);
  wml_pictures_free(&p);
  const char *const only[] = {"training_data/x/1.png", "training_data/y/2.png", NULL};
  CHECK_OK(arrange(only, "y,x", &p));
  CHECK(p.n == 2 && strcmp(p.classes[0], "y") == 0 && p.list[0].label == 0);
  wml_pictures_free(&p);
  CHECK_OK(arrange(plain, "b", &p));
  CHECK(p.n == 2 && p.n_classes == 1);
  wml_pictures_free(&p);
  CHECK_STATUS(WEBML_ERROR_DATA, arrange(plain, "bb", &p));
  CHECK_ERROR("did you mean");
  wml_pictures_free(&p);
  const char *const extra[] = {"training_data/x/1.png", "validation_data/x/1.png",
                               "validation_data/z/1.png", NULL};
  CHECK_STATUS(WEBML_ERROR_DATA, arrange(extra, NULL, &p));
  CHECK_ERROR("the class \"z\" is in validation_data but not in training_data");
  wml_pictures_free(&p);
  const char *const nothing[] = {"readme.txt", "x.png", NULL};
  CHECK_STATUS(WEBML_ERROR_DATA, arrange(nothing, NULL, &p));
  CHECK_ERROR("holds no class folders");
  wml_pictures_free(&p);
}

int main(void) {
  test_splitting();
  test_blocks();
  test_threads();
  test_uncommon();
  test_table_cache();
  test_distinct();
  test_splits();
  test_expand();
  test_layouts();
  return test_report();
}
