/* webml-bench make churn FILE ROWS [SEED]: a table with the columns of the dissertation's figure
 * 4.6. webml-bench make signs FOLDER [PICTURES [LEAST GREATEST [SEED]]]: JPEG pictures like traffic
 * signs, 43 classes, by default 39,209 of 15 to 250 pixels, as many as GTSRB's training part has.
 * The same bytes for the same numbers. */
#include "bench.h"

#include "kernels/common/philox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jpeglib.h>

typedef struct generator {
  uint64_t seed, at;
  wml_philox words;
  int left;
} generator;

static double uniform(generator *g) {
  if (g->left == 0) {
    g->words = wml_philox_at(g->seed, 0, 0, g->at++);
    g->left = 4;
  }
  return (double)g->words.word[--g->left] / 4294967296.0;
}

static double normal(generator *g) { /* Box and Muller */
  double u = 1.0 - uniform(g), v = uniform(g);
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

static double clamp(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

/* ---- churn ---- */

static int make_churn(const char *path, long rows, uint64_t seed) {
  static const char *const surnames[] = {"Hargrave", "Hill",   "Onio", "Boni",  "Mitchell",
                                         "Chu",      "Obinna", "He",   "Scott", "Andrews"};
  static const char *const countries[] = {"France", "Germany", "Spain"};
  generator g = {.seed = seed};
  FILE *f = fopen(path, "w");
  if (!f) return fprintf(stderr, "webml-bench: cannot write %s\n", path), 1;
  fputs("RowNumber,CustomerId,Surname,CreditScore,Geography,Gender,Age,Tenure,Balance,"
        "NumOfProducts,HasCrCard,IsActiveMember,EstimatedSalary,Exited\n",
        f);
  for (long i = 0; i < rows; i++) {
    int country = (int)(uniform(&g) * 3), male = uniform(&g) < 0.54;
    int age = (int)clamp(39 + 10.5 * normal(&g), 18, 92);
    double balance = uniform(&g) < 0.36 ? 0.0 : clamp(120000 + 30000 * normal(&g), 3000, 250000);
    double u = uniform(&g), salary = 11 + uniform(&g) * 199982;
    int products = u < 0.5    ? 1
                   : u < 0.95 ? 2
                   : u < 0.99 ? 3
                              : 4,
        card = uniform(&g) < 0.7, active = uniform(&g) < 0.52;
    double risk = -3.2 + 0.07 * (age - 39) + 0.9 * (country == 1) - 1.1 * active + 0.5 * !male +
                  2.2 * (products > 2) + 0.6 * (products == 1);
    int exited = uniform(&g) < 1.0 / (1.0 + exp(-2.0 * (risk + 1.6)));
    char money[32] = "0";
    if (balance > 0) snprintf(money, sizeof money, "%.2f", balance);
    fprintf(f, "%ld,%d,%s%d,%d,%s,%s,%d,%d,%s,%d,%d,%d,%.2f,%d\n", i + 1,
            15560000 + (int)(uniform(&g) * 260000), surnames[(int)(uniform(&g) * 10)],
            (int)(uniform(&g) * 293), (int)clamp(650 + 96 * normal(&g), 350, 850),
            countries[country], male ? "Male" : "Female", age, (int)(uniform(&g) * 11), money,
            products, card, active, salary, exited);
  }
  bool failed = ferror(f);
  return fclose(f) != 0 || failed;
}

/* ---- signs ---- */

enum { CLASSES = 43, QUALITY = 90 };

typedef struct sign {
  int shape; /* 0 disc, 1 triangle, 2 octagon, 3 diamond, 4 triangle on its tip */
  double rim[3], face[3];
  uint32_t pattern; /* 5 x 5 pictogram */
} sign;

static sign sign_of(int label, uint64_t seed) {
  static const double reds[3] = {0.75, 0.1, 0.1}, blues[3] = {0.1, 0.25, 0.7},
                      white[3] = {0.95, 0.95, 0.95}, yellow[3] = {0.95, 0.8, 0.1};
  wml_philox r = wml_philox_at(seed, 1, 0, (uint64_t)label);
  sign s = {.shape = label % 5, .pattern = r.word[0] & 0x1FFFFFF};
  const double *rim = label % 3 == 0 ? blues : reds, *face = label % 3 == 0 ? blues
                                                             : label % 2    ? white
                                                                            : yellow;
  memcpy(s.rim, rim, sizeof s.rim);
  memcpy(s.face, face, sizeof s.face);
  return s;
}

/* How far inside the outline of radius 1: negative outside. */
static double depth(int shape, double x, double y) {
  double d = 1e9, n = shape == 2 ? 8 : shape == 3 ? 4 : 3;
  if (shape == 0) return 1.0 - sqrt(x * x + y * y);
  double turn = shape == 1 ? 1.5707963 : shape == 4 ? -1.5707963 : shape == 3 ? 0.7853982 : 0.0;
  for (int i = 0; i < (int)n; i++) {
    double a = turn + 6.283185307 * i / n, side = cos(3.14159265 / n) - (x * cos(a) + y * sin(a));
    if (side < d) d = side;
  }
  return d;
}

static void shade(const sign *s, double x, double y, double rgb[3], const double ground[3]) {
  double d = depth(s->shape, x, y);
  const double *c = d < 0 ? ground : d < 0.16 ? s->rim : s->face;
  memcpy(rgb, c, 3 * sizeof *rgb);
  int column = (int)floor((x + 0.5) * 5), row = (int)floor((y + 0.5) * 5);
  if (d < 0.16 || column < 0 || column > 4 || row < 0 || row > 4) return;
  if (s->pattern >> (row * 5 + column) & 1)
    for (int k = 0; k < 3; k++) rgb[k] = s->face[0] > 0.5 ? 0.05 : 0.95;
}

static void draw_sign(generator *g, const sign *s, int w, int h, uint8_t *pixels) {
  double light = 0.35 + 0.85 * uniform(g), turn = 0.25 * (uniform(g) - 0.5),
         size = 0.38 + 0.1 * uniform(g), cx = 0.5 + 0.08 * (uniform(g) - 0.5),
         cy = 0.5 + 0.08 * (uniform(g) - 0.5), noise = 0.02 + 0.06 * uniform(g);
  double ground[3] = {uniform(g), uniform(g), uniform(g)}, c = cos(turn), r = sin(turn);
  int side = w < h ? w : h;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      double sum[3] = {0, 0, 0}, rgb[3];
      for (int k = 0; k < 4; k++) { /* 2 x 2 samples a pixel */
        double px = (x + 0.25 + 0.5 * (k % 2) - cx * w) / (size * side),
               py = (y + 0.25 + 0.5 * (k / 2) - cy * h) / (size * side);
        shade(s, c * px - r * py, r * px + c * py, rgb, ground);
        for (int j = 0; j < 3; j++) sum[j] += 0.25 * rgb[j];
      }
      double grain = noise * (uniform(g) - 0.5);
      for (int j = 0; j < 3; j++)
        *pixels++ = (uint8_t)(255.0 * clamp(light * sum[j] + grain, 0, 1));
    }
}

static int write_jpeg(const char *path, uint8_t *pixels, int w, int h) {
  struct jpeg_compress_struct info;
  struct jpeg_error_mgr errors;
  FILE *f = fopen(path, "wb");
  if (!f) return fprintf(stderr, "webml-bench: cannot write %s\n", path), 1;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  jpeg_stdio_dest(&info, f);
  info.image_width = (JDIMENSION)w, info.image_height = (JDIMENSION)h;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, QUALITY, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = pixels + (size_t)info.next_scanline * (size_t)w * 3;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  return fclose(f) != 0;
}

static int make_signs(const char *folder, long count, int least, int greatest, uint64_t seed) {
  generator g = {.seed = seed};
  char path[4096];
  double total = 0, done = 0;
  long made = 0;
  uint8_t *pixels = malloc((size_t)greatest * (size_t)greatest * 3);
  if (!pixels) return 1;
  mkdir(folder, 0777);
  for (int c = 0; c < CLASSES; c++) total += 1.0 + 9.0 * ((c * 17) % CLASSES) / CLASSES;
  for (int c = 0; c < CLASSES; c++) { /* classes of 1 to 10 shares, as uneven as real ones */
    done += 1.0 + 9.0 * ((c * 17) % CLASSES) / CLASSES;
    long until = c == CLASSES - 1 ? count : lround((double)count * done / total);
    sign s = sign_of(c, seed);
    snprintf(path, sizeof path, "%s/%05d", folder, c);
    mkdir(path, 0777);
    for (long i = 0; made < until; i++, made++) {
      double u = uniform(&g); /* many small ones */
      int w = least + (int)((greatest - least) * u * u),
          h = w + (int)(0.1 * w * (uniform(&g) - 0.5));
      h = (int)clamp(h, least, greatest);
      draw_sign(&g, &s, w, h, pixels);
      snprintf(path, sizeof path, "%s/%05d/%05ld.jpg", folder, c, i);
      if (write_jpeg(path, pixels, w, h)) return 1;
    }
  }
  free(pixels);
  return 0;
}

int bench_make(int argc, char **argv) {
  long number = argc > 2 ? atol(argv[2]) : 39209;
  if (argc >= 3 && strcmp(argv[0], "churn") == 0)
    return make_churn(argv[1], number, argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
  int least = argc > 4 ? atoi(argv[3]) : 15, greatest = argc > 4 ? atoi(argv[4]) : 250;
  if (argc >= 2 && strcmp(argv[0], "signs") == 0 && least > 0 && greatest >= least)
    return make_signs(argv[1], number, least, greatest, argc > 5 ? strtoull(argv[5], NULL, 10) : 1);
  return fprintf(stderr,
                 "usage: webml-bench make churn FILE ROWS [SEED]\n"
                 "       webml-bench make signs FOLDER [PICTURES [LEAST GREATEST [SEED]]]\n"),
         2;
}
