/* webml-server: options, the data directory, start and stop. */
#include "api/api.h"
#include "api/downloads.h"
#include "api/uploads.h"
#include "context/events.h"
#include "context/files.h"
#include "context/log.h"
#include "context/settings.h"
#include "journal/journal.h"
#include "sandbox/kernel.h"
#include "store/users.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <webml.h>

enum { LOG_FILES = 8 };

typedef struct options {
  const char *listen, *data_dir, *certificate, *key, *origin, *proxies, *restore, *sandbox;
  int threads, jobs, timeout, log_bytes;
  json_t *file; /* of --config; the texts above may be in it */
} options;

static const char usage[] =
    "Usage: webml-server [options]\n"
    "\n"
    "  --listen HOST:PORT    where to listen; numeric (127.0.0.1:8080)\n"
    "  --data-dir DIR        everything the server keeps (webml-data)\n"
    "  --tls-cert FILE       certificate chain, PEM: HTTPS, HTTP/2 over TLS\n"
    "  --tls-key FILE        its key, PEM\n"
    "  --cors-origin ORIGIN  lets pages of this origin call the server\n"
    "  --trusted-proxy LIST  addresses and networks of proxies whose Forwarded or\n"
    "                        X-Forwarded-For names the client: 10.0.0.1, fd00::/8\n"
    "  --threads N           event loops; 0: one per core (0)\n"
    "  --jobs N              trainings at a time on one device (1)\n"
    "  --timeout N           seconds for a request to come, body and all (120)\n"
    "  --log-bytes N         the log is rotated at this size (16777216)\n"
    "  --sandbox on|off      confine programs that read uploaded files (on)\n"
    "  --config FILE         options as JSON: {\"listen\": \"0.0.0.0:80\", ...}\n"
    "  --restore FILE.zip    put a backup in place of what is there, then serve\n"
    "  --help, --version\n"
    "\n"
    "Each option can be given in the environment, too: WEBML_LISTEN,\n"
    "WEBML_DATA_DIR, WEBML_TLS_CERT, WEBML_TLS_KEY, WEBML_CORS_ORIGIN,\n"
    "WEBML_TRUSTED_PROXY, WEBML_THREADS, WEBML_JOBS, WEBML_TIMEOUT,\n"
    "WEBML_LOG_BYTES, WEBML_SANDBOX, WEBML_CONFIG.\n"
    "An option comes before the environment, and that before the file. SIGHUP\n"
    "reads the certificate again; SIGTERM answers what has begun and ends;\n"
    "trainings go on without the server.\n";

/* Options that have a value, by their names. */
typedef struct option_place {
  const char *name, *environment, *otherwise;
  size_t offset; /* of a text or a number in options */
  bool number;
} option_place;

#define PLACE(name, variable, otherwise, member, number)                                           \
  { name, variable, otherwise, offsetof(options, member), number }
static const option_place places[] = {
    PLACE("listen", "WEBML_LISTEN", "127.0.0.1:8080", listen, false),
    PLACE("data-dir", "WEBML_DATA_DIR", "webml-data", data_dir, false),
    PLACE("tls-cert", "WEBML_TLS_CERT", NULL, certificate, false),
    PLACE("tls-key", "WEBML_TLS_KEY", NULL, key, false),
    PLACE("cors-origin", "WEBML_CORS_ORIGIN", NULL, origin, false),
    PLACE("trusted-proxy", "WEBML_TRUSTED_PROXY", NULL, proxies, false),
    PLACE("sandbox", "WEBML_SANDBOX", "on", sandbox, false),
    PLACE("restore", NULL, NULL, restore, false),
    PLACE("threads", "WEBML_THREADS", "0", threads, true),
    PLACE("jobs", "WEBML_JOBS", "1", jobs, true),
    PLACE("timeout", "WEBML_TIMEOUT", "120", timeout, true),
    PLACE("log-bytes", "WEBML_LOG_BYTES", "16777216", log_bytes, true)};
#undef PLACE
enum { PLACES = sizeof places / sizeof *places };

static void put_option(options *o, const option_place *p, const char *value) {
  if (p->number) {
    int number = value ? atoi(value) : 0;
    memcpy((char *)o + p->offset, &number, sizeof number);
  } else
    memcpy((char *)o + p->offset, &value, sizeof value);
}

static const option_place *find_option(const char *name) {
  for (int i = 0; i < PLACES; i++)
    if (strcmp(places[i].name, name) == 0) return &places[i];
  return NULL;
}

/* False: a sentence was printed. */
static bool read_file(options *o, const char *path) {
  json_error_t error;
  const char *name;
  json_t *value;
  o->file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_object(o->file)) {
    fprintf(stderr, "webml-server: %s: line %d: %s\n", path, o->file ? 1 : error.line,
            o->file ? "must be an object" : error.text);
    return false;
  }
  json_object_foreach(o->file, name, value) {
    const option_place *p = find_option(name);
    if (!p || p->number != json_is_integer(value) || (!p->number && !json_is_string(value))) {
      fprintf(stderr,
              p ? "webml-server: %s: \"%s\" takes a %s\n"
                : "webml-server: %s: there is no option \"%s\"\n",
              path, name, p && p->number ? "whole number" : "text");
      return false;
    }
    if (p->number) {
      int number = (int)json_integer_value(value);
      memcpy((char *)o + p->offset, &number, sizeof number);
    } else
      put_option(o, p, json_string_value(value));
  }
  return true;
}

/* Defaults, then the file, then the environment. False: a sentence was printed. */
static bool read_defaults(options *o, int argc, char **argv) {
  const char *path = getenv("WEBML_CONFIG");
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) path = argv[i + 1];
    if (strncmp(argv[i], "--config=", 9) == 0) path = argv[i] + 9;
  }
  for (int i = 0; i < PLACES; i++) put_option(o, &places[i], places[i].otherwise);
  if (path && *path && !read_file(o, path)) return false;
  for (int i = 0; i < PLACES; i++) {
    const char *value = places[i].environment ? getenv(places[i].environment) : NULL;
    if (value && *value) put_option(o, &places[i], value);
  }
  return true;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, options *o) {
  struct option list[PLACES + 4] = {{"config", required_argument, NULL, 'f'},
                                    {"help", no_argument, NULL, 'h'},
                                    {"version", no_argument, NULL, 'v'}};
  for (int i = 0; i < PLACES; i++)
    list[i + 3] = (struct option){places[i].name, required_argument, NULL, 0};
  if (!read_defaults(o, argc, argv)) return 2;
  for (int c, which; (c = getopt_long(argc, argv, "", list, &which)) != -1;) switch (c) {
    case 0: put_option(o, &places[which - 3], optarg); break;
    case 'f': break; /* was read */
    case 'h': fputs(usage, stdout); return 0;
    case 'v': printf("webml-server %s\n", webml_version()); return 0;
    default: fputs(usage, stderr); return 2;
    }
  bool half = !o->certificate != !o->key,
       known = strcmp(o->sandbox, "on") == 0 || strcmp(o->sandbox, "off") == 0;
  if (optind < argc || o->threads < 0 || o->threads > 256 || o->jobs < 1 || o->jobs > 64 ||
      o->timeout < 1 || o->log_bytes < 4096 || half || !known) {
    fputs(half ? "webml-server: --tls-cert and --tls-key belong together\n" : usage, stderr);
    return 2;
  }
  return -1;
}

/* "127.0.0.1:8080", "[::1]:8080" */
static bool split_address(const char *text, char *host, size_t size, int *port) {
  const char *colon = strrchr(text, ':');
  char *end;
  if (!colon || (size_t)(colon - text) >= size) return false;
  size_t n = (size_t)(colon - text), skip = text[0] == '[' && n > 1 && text[n - 1] == ']';
  memcpy(host, text + skip, n - 2 * skip);
  host[n - 2 * skip] = '\0';
  *port = (int)strtol(colon + 1, &end, 10);
  return colon[1] && !*end && *port >= 0 && *port <= 65535;
}

/* Makes the directory and takes it: one server at a time. -1: a sentence was printed. */
static int take_directory(const char *path) {
  char lock[CONTEXT_PATH];
  if (mkdir(path, 0700) != 0 && errno != EEXIST) {
    fprintf(stderr, "webml-server: cannot make %s: %s\n", path, strerror(errno));
    return -1;
  }
  snprintf(lock, sizeof lock, "%s/lock", path);
  int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  if (fd >= 0 && errno == EWOULDBLOCK)
    fprintf(stderr, "webml-server: another server uses %s\n", path);
  else
    fprintf(stderr, "webml-server: cannot use %s: %s\n", path, strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}

/* ---- signals ---- */

static http_server *running;

static void on_signal(int number) {
  (void)number;
  http_server_stop(running);
}

static void *reload_on_hangup(void *arg) {
  sigset_t *set = arg;
  for (int number; sigwait(set, &number) == 0;) {
    char error[512];
    bool ok = http_server_reload_tls(running, error, sizeof error);
    log_event("tls", 0, NULL, ok ? "certificate read" : error);
  }
  return NULL;
}

static sigset_t hangup;

/* Before the first thread: they all have the mask. */
static void block_hangup(void) {
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &hangup, NULL);
}

static void set_signals(void) {
  pthread_t thread;
  struct sigaction stop = {.sa_handler = on_signal};
  sigaction(SIGTERM, &stop, NULL);
  sigaction(SIGINT, &stop, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (pthread_create(&thread, NULL, reload_on_hangup, &hangup) == 0) pthread_detach(thread);
}

/* ---- the first start ---- */

static bool greet(api *a) {
  char key[SECRET_TEXT], hash[SECRET_HASH];
  store *st = a->context.store;
  int has_admin = users_have_admin(st);
  if (has_admin) return has_admin > 0;
  secret_make(key);
  secret_hash(key, hash);
  if (keys_forget_admins(st) < 0 ||
      key_add(st, hash, "admin", 0, context_now(), context_now() + 7 * 86400) < 0)
    return false;
  printf("the first account is the administrator's; make it with this one-time key:\n"
         "  %s/register#key=%s\n",
         a->address, key);
  return true;
}

/* The store, as it is or as a backup has it. False with a sentence. */
static bool open_store(const options *o, api *a, char *error, size_t size) {
  char path[CONTEXT_PATH];
  snprintf(path, sizeof path, "%s/webml.sqlite", a->context.data_dir);
  a->context.store = store_open(path, error, size);
  return a->context.store &&
         (!o->restore || backup_prepare(a->context.data_dir, o->restore, error, size)) &&
         (!backup_is_prepared(a->context.data_dir) || backup_apply(&a->context, error, size));
}

/* Whether strangers' files are read behind bars, for the log. */
static void tell_sandbox(const context *c) {
  char path[CONTEXT_PATH], text[256] = "programs are not confined: --sandbox off";
  if (c->sandbox) kernel_describe(text, sizeof text);
  if (c->sandbox && !process_beside("webml-confined", path, sizeof path))
    snprintf(text, sizeof text, "nothing can be started: webml-confined is not beside the server");
  log_event("sandbox", 0, NULL, text);
}

/* Floor by floor. False: store_error(). */
static bool start_rooms(api *a) {
  context *c = &a->context;
  const serve_hooks hooks = {.before = http_gather, .after = http_flush};
  return (c->events = events_create()) && files_prepare(c) &&
         (a->throttle = throttle_create(c->store, a->key)) && (a->cache = cache_create(c->store)) &&
         (a->tools = tools_create(c)) && (a->inspections = inspections_create(c, a->tools)) &&
         (a->monitor = monitor_create(c)) && (a->jobs = jobs_create(c, a->monitor)) &&
         (a->curves = curves_create(c)) && monitor_start(a->monitor) &&
         (a->history = history_create(c, a->monitor)) && history_start(a->history) &&
         (a->serving = serve_create(c, (size_t)4 << 30, hooks)) && api_start(a);
}

static int serve(const options *o, api *a, const http_options *http) {
  char error[512], path[CONTEXT_PATH], address[128];
  snprintf(path, sizeof path, "%s/log", a->context.data_dir);
  if (!journal_open(path, (size_t)o->log_bytes, LOG_FILES, error, sizeof error) ||
      !open_store(o, a, error, sizeof error))
    return fprintf(stderr, "webml-server: %s\n", error), 1;
  snprintf(path, sizeof path, "%s/token.key", a->context.data_dir);
  a->key = token_key_open(path, error, sizeof error);
  if (a->key) running = a->server = http_server_create(http, error, sizeof error);
  if (!a->server) return fprintf(stderr, "webml-server: %s\n", error), 1;
  snprintf(address, sizeof address, strchr(http->host, ':') ? "%s://[%s]:%d" : "%s://%s:%d",
           o->certificate ? "https" : "http", http->host, http_server_port(a->server));
  a->address = address;
  set_signals();
  setting_default("sessions_per_device", o->jobs);
  if (!start_rooms(a) || !greet(a))
    return fprintf(stderr, "webml-server: cannot start: %s\n", store_error()), 1;
  uploads_recover(a);
  files_tidy(&a->context);
  tell_sandbox(&a->context);
  printf("webml-server %s listens on %s\n", webml_version(), address);
  fflush(stdout);
  http_server_run(a->server, 10);
  return 0;
}

/* A connection is a file: as many as the system allows. */
static void allow_files(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/* In the order in which nothing uses what has ended. */
static void end(api *a) {
  tools_stop(a->tools);
  api_stop(a);
  inspections_destroy(a->inspections);
  monitor_stop(a->monitor);
  history_stop(a->history);
  jobs_destroy(a->jobs);
  curves_destroy(a->curves);
  history_destroy(a->history);
  monitor_destroy(a->monitor);
  tools_destroy(a->tools);
  serve_destroy(a->serving);
  http_server_destroy(a->server);
  api_downloads_stop(a);
  events_destroy(a->context.events);
  throttle_destroy(a->throttle);
  cache_destroy(a->cache);
  token_key_free(a->key);
  store_close(a->context.store);
  journal_close();
}

static int run(const options *o) {
  char host[64];
  int port;
  api a = {.started = context_now(),
           .context = {.data_dir = o->data_dir, .sandbox = strcmp(o->sandbox, "on") == 0},
           .allowed_origin = o->origin};
  if (!split_address(o->listen, host, sizeof host, &port))
    return fprintf(stderr, "webml-server: --listen takes HOST:PORT, not \"%s\"\n", o->listen), 2;
  umask(0077);
  allow_files();
  /* Bodies and tensors come and go thousands of times a second: the kernel need not be asked for
   * their pages each time. What predictors leave goes back when they are unloaded. */
  mallopt(M_MMAP_THRESHOLD, 16 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  block_hangup();
  int lock = take_directory(o->data_dir);
  if (lock < 0) return 1;
  char data_dir[PATH_MAX]; /* absolute: processes run elsewhere */
  if (!realpath(o->data_dir, data_dir))
    return fprintf(stderr, "webml-server: cannot use %s: %s\n", o->data_dir, strerror(errno)), 1;
  a.context.data_dir = data_dir;
  if (!secrets_start())
    return fprintf(stderr, "webml-server: no random numbers on this machine\n"), 1;
  http_options http = {.host = host,
                       .port = port,
                       .loops = o->threads,
                       .idle_seconds = o->timeout,
                       .certificate = o->certificate,
                       .key = o->key,
                       .handle = api_handle,
                       .user = &a,
                       .body_limit = api_body_limit,
                       .may_send = api_may_send,
                       .body = uploads_body,
                       .spool_folder = data_dir,
                       /* Together with what the program itself takes below 300 MB. */
                       .max_held_per_address = (size_t)96 << 20,
                       .max_held = (size_t)192 << 20,
                       .trusted_proxies = o->proxies};
  int code = serve(o, &a, &http);
  end(&a);
  close(lock);
  return code;
}

int main(int argc, char **argv) {
  options o = {0};
  int code = parse(argc, argv, &o);
  if (code < 0) code = run(&o);
  json_decref(o.file);
  return code;
}
