/* base64url without padding, as JOSE writes bytes (RFC 4648 §5, RFC 7515 §2). */
#ifndef TICKERD_WIRE_BASE64URL_H
#define TICKERD_WIRE_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

#include "tickerd/base/buf.h"

/* Append the bytes that this text stands for. Strict, so that bytes have one spelling only: no
 * padding, no blanks, no other alphabet, no bits left over in the last character. False (nothing
 * appended): it is not that, or memory is out (out->failed). */
bool base64url_decode(struct buf *out, const char *text, size_t len);

#endif
