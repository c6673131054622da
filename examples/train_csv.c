/* Trains a network on a CSV file: cc train_csv.c $(pkg-config --cflags --libs webml)
 *
 * usage: train_csv TABLE.csv WEIGHTS.safetensors */
#include <stdio.h>
#include <string.h>
#include <webml.h>

static const char description[] =
    "{\"size\": [null], \"dynamic\": true, \"optimizer\": \"adam\", \"loss\": null, \"layers\": ["
    "{\"type\": \"Dense\", \"layer\": {\"units\": 32, \"activation\": \"relu\"}},"
    "{\"type\": \"Dense\", \"layer\": {\"units\": null, \"activation\": \"softmax\"}}]}";

static void on_progress(const webml_progress *p, void *user) {
  (void)user;
  if (p->epoch_ended)
    printf("epoch %d: loss %.4f, validation %.4f\n", (int)p->epoch, p->loss, p->validation_loss);
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: train_csv TABLE.csv WEIGHTS.safetensors\n"), 2;
  webml_model *described = NULL, *model = NULL;
  webml_dataset *dataset = NULL;
  webml_device *device = NULL;
  webml_trainer *trainer = NULL;
  webml_dataset_options data = {.struct_size = sizeof data, .validation_split = 0.2};
  webml_train_options options = {.struct_size = sizeof options,
                                 .epochs = 20,
                                 .weights_path = argv[2],
                                 .progress = on_progress};

  webml_status status = webml_model_parse(description, strlen(description), &described);
  if (!status) status = webml_dataset_open(argv[1], &data, &dataset);
  if (!status) status = webml_model_shape_to(described, dataset, &model, NULL);
  if (!status) status = webml_device_open("auto", 0, &device);
  if (!status) status = webml_trainer_create(model, dataset, device, &options, &trainer);
  if (!status) status = webml_trainer_run(trainer);
  if (status) fprintf(stderr, "%s\n", webml_last_error());

  webml_trainer_destroy(trainer);
  webml_device_destroy(device);
  webml_dataset_destroy(dataset);
  webml_model_destroy(model);
  webml_model_destroy(described);
  return status ? 1 : 0;
}
