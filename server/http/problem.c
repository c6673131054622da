/* Statuses in words, and the form of errors: problem documents (RFC 9457). */
#include "loop.h"

#include <ctype.h>
#include <stdio.h>

const char http_problem_type[] = "application/problem+json";

void http_code(int status, char *code, size_t size) {
  const char *reason = http_reason(status);
  size_t n = 0;
  for (; reason[n] && n + 1 < size; n++)
    code[n] = (char)(reason[n] == ' ' ? '_' : tolower((unsigned char)reason[n]));
  code[n] = '\0';
}

/* Sentences are this program's own: nothing in them needs an escape. */
size_t http_problem(char *text, size_t size, int status, const char *sentence) {
  char code[64];
  http_code(status, code, sizeof code);
  int n = snprintf(text, size,
                   "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\","
                   "\"code\":\"%s\"}",
                   http_reason(status), status, sentence, code);
  return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

const char *http_reason(int status) {
  static const struct {
    int status;
    const char *reason;
  } reasons[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {304, "Not Modified"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {410, "Gone"},
                 {412, "Precondition Failed"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {428, "Precondition Required"},
                 {460, "Checksum Mismatch"}, /* tus */
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"},
                 {507, "Insufficient Storage"}};
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status) return reasons[i].reason;
  return status < 400 ? "OK" : "Error";
}
