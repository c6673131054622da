/* Predicts with trained weights: cc predict.c $(pkg-config --cflags --libs webml)
 *
 * usage: predict WEIGHTS.safetensors IMAGE.png
 *        predict WEIGHTS.safetensors '{"column": value, ...}' */
#include <stdio.h>
#include <webml.h>

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: predict WEIGHTS.safetensors IMAGE|ROW\n"), 2;
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  char *answer = NULL;

  webml_status status = webml_device_open("auto", 0, &device);
  if (!status) status = webml_predictor_load(argv[1], device, 1, &predictor);
  if (!status)
    status = argv[2][0] == '{' ? webml_predictor_row(predictor, argv[2], &answer)
                               : webml_predictor_image(predictor, argv[2], &answer);
  if (status)
    fprintf(stderr, "%s\n", webml_last_error());
  else
    printf("%s\n", answer);

  webml_free(answer);
  webml_predictor_destroy(predictor);
  webml_device_destroy(device);
  return status ? 1 : 0;
}
