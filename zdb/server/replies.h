/* replies - every fixed text a client can see, each once (spec zdb-protocol).  Without the leading
 * '-' or '+'. */
#ifndef ZDB_SERVER_REPLIES_H
#define ZDB_SERVER_REPLIES_H

#define REPLY_OK     "OK"
#define REPLY_PONG   "PONG"
#define REPLY_MIRROR "Starting mirroring"
#define REPLY_MASTER "Hello, master"

/* protocol */
#define REPLY_NOT_ARRAY        "Malformed request, array expected"
#define REPLY_MALFORMED        "Malformed query string"
#define REPLY_TOO_MANY_ARGS    "Too many arguments"
#define REPLY_BAD_SIZE         "Internal memory error" /* negative counts and lengths */
#define REPLY_TOO_BIG          "Payload too big"
#define REPLY_TOO_MANY_CLIENTS "Too many clients"
#define REPLY_TERMINATOR       "Malformed request, payload not followed by CRLF"

/* any command */
#define REPLY_UNKNOWN         "Command not supported"
#define REPLY_NOT_VALID       "This is not a valid command"
#define REPLY_DETACHED        "Your active namespace is not available anymore (probably removed)."
#define REPLY_DENIED          "Permission denied"
#define REPLY_UNEXPECTED_ARGS "Unexpected arguments"
#define REPLY_MISSING_ARGS    "Missing arguments"
#define REPLY_INVALID_ARG     "Invalid argument"
#define REPLY_INVALID_ARGS    "Invalid arguments"
#define REPLY_ARG_TOO_LONG    "Argument too long"
#define REPLY_INTERNAL        "Internal Error"
#define REPLY_READ_ONLY       "Namespace is in read-only mode"
#define REPLY_FROZEN          "Namespace is temporarily frozen (read-write disabled)"
#define REPLY_LOCKED          "Namespace is temporarily locked (read-only)"

/* keys and values */
#define REPLY_INVALID_KEY   "Invalid key"
#define REPLY_KEY_TOO_LARGE "Key too large"
#define REPLY_NOT_FOUND     "Key not found"
#define REPLY_WORM          "Namespace is protected by worm mode"
#define REPLY_WORM_DEL      "Cannot delete a key when namespace is in worm mode"
#define REPLY_NO_SPACE      "No space left on this namespace"
#define REPLY_KEY_NEEDED    "Invalid argument, key needed"
#define REPLY_ONLY_UPDATE   "Invalid key, only update authorized"
#define REPLY_WRITE_DATA    "Cannot write data right now"
#define REPLY_WRITE_INDEX   "Cannot write index right now"
#define REPLY_DEL_DATA      "Cannot delete key (data)"
#define REPLY_DEL_INDEX     "Cannot delete key (index)"
#define REPLY_SYNC_FAILED   "Cannot sync right now"

/* scans, history, raw records */
#define REPLY_BAD_CURSOR    "Invalid key format"
#define REPLY_NO_MORE       "No more data"
#define REPLY_KSCAN         "Command disabled in release code, not yet available"
#define REPLY_NO_HISTORY    "No more history"
#define REPLY_HISTORY_QUERY "Invalid arguments (index query)"
#define REPLY_HISTORY_KEY   "Invalid arguments (invalid key)"
#define REPLY_EOF           "EOF"
#define REPLY_RAW_INSANE    "Unexpected Internal Error"
#define REPLY_RAW_INVALID   "Invalid Request"

/* namespaces */
#define REPLY_NS_TOO_LONG    "Namespace too long"
#define REPLY_NS_NOT_FOUND   "Namespace not found"
#define REPLY_NS_NAME        "This name is not allowed"
#define REPLY_NS_TAKEN       "This namespace is not available"
#define REPLY_NS_NOT_CREATED "Could not create namespace"
#define REPLY_NS_DEL_DEFAULT "Cannot remove default namespace"
#define REPLY_NS_DEL_UNKNOWN "This namespace doesn't exists"
#define REPLY_NS_DEL_CURRENT "Cannot remove namespace you're currently using."
#define REPLY_NS_SET_DEFAULT "Cannot update default namespace"
#define REPLY_NS_PROPERTY    "Invalid property"
#define REPLY_NS_POLICY      "Invalid property value (expected: keep, reclaim PERCENT with 1 to 99)"
#define REPLY_NS_LATER       "A segment is still needed by its hook"
#define REPLY_NS_KEEPS       "Namespace keeps everything (see NSSET policy)"
#define REPLY_NS_SINGLE_MODE "This server instance is configured to use a single runtime mode"
#define REPLY_NS_USED        "Cannot change mode of used namespace"
#define REPLY_NS_MODE_VALUE  "Invalid property value (expected: user, seq)"
#define REPLY_NS_NUMBER      "Invalid property value (expected: a number of bytes)"
#define REPLY_NS_SWITCH      "Invalid property value (expected: 0, 1)"
#define REPLY_NS_PRIVATE     "Namespace protected and private"
#define REPLY_FLUSH_PUBLIC   "Flushing public namespace denied"

/* passwords */
#define REPLY_PASSWORD_LONG "Password too long"
#define REPLY_ACCESS_DENIED "Access denied"
#define REPLY_ONLY_SECURE   "Only SECURE extra method supported"
#define REPLY_NO_CHALLENGE  "No CHALLENGE requested, secure authentication not available"
#define REPLY_HASH_LENGTH   "Invalid hash length"
#define REPLY_NO_AUTH       "Authentication disabled"

/* system */
#define REPLY_STOP         "Unauthorized"
#define REPLY_WAIT_UNKNOWN "Unknown command to watch"
#define REPLY_WAIT_TIMEOUT "Invalid timeout"
#define REPLY_TIMEOUT      "Timeout"
#define REPLY_INDEX_DIRTY  "Unknown INDEX DIRTY subcommand"
#define REPLY_INDEX        "Unknown INDEX subcommand"
#define REPLY_DATA         "Unknown DATA subcommand"
#define REPLY_CLIENT       "Unknown CLIENT subcommand"
#define REPLY_COMMAND      "Unknown COMMAND subcommand"
#define REPLY_NO_PROTO     "NOPROTO unsupported protocol version" /* clients know it by its word */

#endif
