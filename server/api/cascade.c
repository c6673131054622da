#include "cascade.h"

#include "context/files.h"

void cascade(api *a) {
  serve_unload_gone(a->serving);
  files_tidy(&a->context);
  jobs_tidy(a->jobs);
  jobs_wake(a->jobs);
}
