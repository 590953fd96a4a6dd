// Asks Ridgeline from Node: one question, one sweep, and what an error tells.
//
//     npm ci --ignore-scripts
//     node client.js 127.0.0.1:50051 llama-2-7b rtx-a6000
//
// The contract is read from proto/ at start, so that nothing is generated. RIDGELINE_TLS_CA names the PEM file of the
// server's authority, RIDGELINE_TOKEN the token; without a CA the call goes in clear text, and without the token.

"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
const { detailsOf } = require("./errors");

const PROTO = process.env.RIDGELINE_PROTO ?? path.join(__dirname, "..", "..", "proto");
const MAX_MESSAGE_BYTES = 64 * 2 ** 20; // grpc-js stops at 4 MiB, which large answers exceed.
const DEADLINE_S = 30;

// These calls change nothing, so that they are made again while a server restarts.
const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{ service: "ridgeline.v1.AnalysisService" }, { service: "ridgeline.v1.RecommendationService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.2s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
  loadBalancingConfig: [{ pick_first: {} }],
};

/** The services of `ridgeline.v1`. */
function contract() {
  const definition = protoLoader.loadSync(
    ["ridgeline/v1/analysis_service.proto", "ridgeline/v1/recommendation_service.proto"],
    { includeDirs: [PROTO], keepCase: true, enums: String, longs: Number, defaults: true, oneofs: true },
  );
  return grpc.loadPackageDefinition(definition).ridgeline.v1;
}

/** How calls are secured: TLS and a token, or neither. */
function credentials() {
  const { RIDGELINE_TLS_CA: ca, RIDGELINE_TOKEN: token } = process.env;
  if (!ca) return grpc.credentials.createInsecure();
  const channel = grpc.credentials.createSsl(fs.readFileSync(ca));
  if (!token) return channel;
  const bearer = grpc.credentials.createFromMetadataGenerator((_options, done) => {
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${token}`);
    done(null, metadata);
  });
  return grpc.credentials.combineChannelCredentials(channel, bearer);
}

/** A unary call as a promise. */
function ask(client, method, request) {
  const deadline = new Date(Date.now() + DEADLINE_S * 1000);
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

async function main([target, model, hardware]) {
  const v1 = contract();
  const options = {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
  };
  const analysis = new v1.AnalysisService(target, credentials(), options);
  const recommendation = new v1.RecommendationService(target, credentials(), options);

  const advice = await ask(recommendation, "Recommend", {
    model: { id: model },
    hardware: { id: hardware },
    workload: { batch: 1, input_len: 2048, output_len: 128, slo: { tpot_ms: 20 } },
  });
  const today = advice.baseline.metrics.tpot_ms;
  console.log(`today: TPOT ${today.expected.toFixed(1)} ms (${today.low.toFixed(1)}-${today.high.toFixed(1)})`);
  for (const plan of advice.plans.slice(0, 1)) {
    console.log(`plan: ${plan.techniques.join(", ")}; SLO ${plan.meets_slo ? "met" : "missed"}`);
  }

  const stream = analysis.Sweep({
    product: {
      models: [{ id: model }],
      hardware: [{ id: hardware }],
      loads: { batch: [1, 2, 4, 8], input_len: [512, 2048], output_len: [128] },
    },
    columns: ["point", "tpot_ms"],
    batch_rows: 4,
  });
  // Each message holds an Arrow record batch, for the package apache-arrow; `for await` asks for the next one when it
  // is done with this one.
  for await (const message of stream) {
    const bytes = message.arrow_record_batch.length;
    console.log(`sweep: ${message.rows_done} of ${message.rows_total} rows, ${bytes > 0 ? "Arrow" : "empty"}`);
  }

  try {
    await ask(analysis, "Analyze", { model: { id: "no-such-model" }, hardware: { id: hardware } });
  } catch (error) {
    const { reason, violations } = detailsOf(error);
    console.log(`refused: ${grpc.status[error.code]} ${reason}: ${error.details}`);
    for (const violation of violations) console.log(`  ${violation.field}: ${violation.description}`);
  }
  analysis.close();
  recommendation.close();
}

if (process.argv.length !== 5) {
  console.error("usage: node client.js HOST:PORT MODEL HARDWARE");
  process.exit(2);
}
main(process.argv.slice(2)).catch((error) => {
  console.error(error.details ?? error);
  process.exit(1);
});
