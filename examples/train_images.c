/* Trains a network on a folder of images, or of IDX files:
 * cc train_images.c $(pkg-config --cflags --libs webml)
 *
 * usage: train_images MODEL.json FOLDER WEIGHTS.safetensors */
#include <stdio.h>
#include <webml.h>

static void on_progress(const webml_progress *p, void *user) {
  (void)user;
  printf("\repoch %d, step %d of %d: loss %.4f, %.0f images/s%s", (int)p->epoch, (int)p->step,
         (int)p->steps, p->loss, p->samples_per_second, p->epoch_ended ? "\n" : "");
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (argc != 4)
    return fprintf(stderr, "usage: train_images MODEL.json FOLDER WEIGHTS.safetensors\n"), 2;
  webml_model *described = NULL, *model = NULL;
  webml_dataset *dataset = NULL;
  webml_device *device = NULL;
  webml_trainer *trainer = NULL;
  char *chosen = NULL;
  webml_train_options options = {.struct_size = sizeof options,
                                 .epochs = 3,
                                 .batch_size = 64,
                                 .weights_path = argv[3],
                                 .progress = on_progress};

  webml_status status = webml_model_load(argv[1], &described);
  if (!status) status = webml_dataset_open(argv[2], NULL, &dataset);
  if (!status) status = webml_model_shape_to(described, dataset, &model, &chosen);
  if (!status) printf("%s\n", chosen);
  if (!status) status = webml_device_open("auto", 0, &device);
  if (!status) status = webml_trainer_create(model, dataset, device, &options, &trainer);
  if (!status) status = webml_trainer_run(trainer);
  if (status) fprintf(stderr, "%s\n", webml_last_error());

  webml_free(chosen);
  webml_trainer_destroy(trainer);
  webml_device_destroy(device);
  webml_dataset_destroy(dataset);
  webml_model_destroy(model);
  webml_model_destroy(described);
  return status ? 1 : 0;
}
