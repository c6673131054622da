#include "cli.h"

#include <string.h>

static const cli_command *const commands[] = {
    &cli_train, &cli_evaluate, &cli_predict, &cli_inspect,  &cli_sample, &cli_summary, &cli_check,
    &cli_model, &cli_shape,    &cli_export,  &cli_quantize, &cli_schema, &cli_devices};

static void usage(FILE *out) {
  fputs(
      "Usage: webml COMMAND [arguments]\n\n"
      "Trains neural networks described in JSON on CSV files and folders of images.\n\nCommands:\n",
      out);
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
  fputs("\nwebml COMMAND --help tells more. webml --version prints the version.\n", out);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    usage(stderr);
    return CLI_WRONG_USE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
      strcmp(argv[1], "help") == 0) {
    usage(stdout);
    return CLI_DONE;
  }
  if (strcmp(argv[1], "--version") == 0) {
    printf("webml %s\n", webml_version());
    return CLI_DONE;
  }
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (strcmp(argv[1], commands[i]->name) == 0) {
      int code = commands[i]->run(argc - 2, argv + 2);
      if (fflush(stdout) != 0 && code == CLI_DONE) return cli_fail("cannot write the output");
      return code;
    }
  return cli_wrong_use("unknown command \"%s\"; see webml --help", argv[1]);
}
