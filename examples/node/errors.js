// What stands behind a gRPC error of Ridgeline: the reason for programs, and every field that is wrong.

"use strict";

const protobuf = require("protobufjs");

// The messages of google.rpc that Ridgeline sends, with the fields that are read here.
const rpc = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; }
    repeated FieldViolation field_violations = 1;
  }
`, { keepCase: true }).root;

const Status = rpc.lookupType("google.rpc.Status");
const ErrorInfo = rpc.lookupType("google.rpc.ErrorInfo");
const BadRequest = rpc.lookupType("google.rpc.BadRequest");

/** The details of an error: empty where whoever failed was not Ridgeline, such as the network. */
function detailsOf(error) {
  const found = { reason: "", metadata: {}, violations: [] };
  for (const status of error.metadata?.get("grpc-status-details-bin") ?? []) {
    for (const detail of Status.decode(status).details) {
      if (detail.type_url.endsWith("/google.rpc.ErrorInfo")) {
        const info = ErrorInfo.decode(detail.value);
        found.reason = info.reason;
        found.metadata = info.metadata;
      } else if (detail.type_url.endsWith("/google.rpc.BadRequest")) {
        found.violations.push(...BadRequest.decode(detail.value).field_violations);
      }
    }
  }
  return found;
}

module.exports = { detailsOf };
