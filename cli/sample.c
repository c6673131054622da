/* webml sample: one picture of a data set, as a network of that size would see it. */
#include "data.h"
#include "draw.h"

#include <stdlib.h>
#include <string.h>

static int draw(const cli_data *data, const char *class, int64_t index, int side,
                const char *path) {
  webml_dataset *dataset = NULL;
  int64_t picture;
  uint8_t *pixels = malloc((size_t)side * (size_t)side * 3);
  if (!pixels) return cli_fail("out of memory");
  webml_status status = webml_dataset_open(data->path, &data->options, &dataset);
  if (status == WEBML_OK) status = webml_dataset_find(dataset, class, index, &picture);
  if (status == WEBML_OK)
    status = webml_dataset_picture(dataset, picture, side, side, 3, NULL, 0, 0, pixels, NULL);
  int code = status == WEBML_OK ? cli_draw_picture(path, pixels, side) : cli_fail_last();
  webml_dataset_destroy(dataset);
  free(pixels);
  return code;
}

static int run_sample(int argc, char **argv) {
  cli_data data = {.options = {.struct_size = sizeof data.options}};
  const char *path = NULL, *class = NULL;
  int64_t index = 0, side = 128;
  const cli_option own[] = {
      {"class", CLI_TEXT, &class, "NAME", "of which class (needed)"},
      {"index", CLI_INTEGER, &index, "N", "which of its pictures, from 0 (0)"},
      {"size", CLI_INTEGER, &side, "N", "width and height in pixels (128)"},
      {"out", CLI_TEXT, &path, "FILE.png", "where to draw it (needed); also -o FILE"}};
  cli_option options[4 + CLI_DATA_OPTIONS];
  size_t n_options = cli_data_options(&data, own, 4, options);
  for (int i = 0; i < argc; i++)
    if (strcmp(argv[i], "-o") == 0) argv[i] = "--out";
  int n = cli_parse(&cli_sample, options, (int)n_options, argc, argv);
  if (n < 0) return n == -2 ? CLI_DONE : CLI_WRONG_USE;
  if (cli_data_settle(&data) != CLI_DONE) return CLI_WRONG_USE;
  if (!class || !path) return cli_wrong_use("--class NAME and -o FILE.png are needed");
  if (side < 1 || side > 4096) return cli_wrong_use("--size takes 1 to 4096");
  data.path = argv[0];
  return draw(&data, class, index, (int)side, path);
}

const cli_command cli_sample = {
    "sample", "PATH --class NAME -o FILE.png", "draw one picture of a data set", 1, 1, run_sample};
