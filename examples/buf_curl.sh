#!/bin/sh
# A session with Ridgeline from a shell, by server reflection: no proto file and no generated code.
#
#     ridgeline-server serve &
#     examples/buf_curl.sh                # or RIDGELINE_SERVER=HOST:PORT examples/buf_curl.sh
#
# buf comes by `pip install buf-bin`. With grpcurl the same call is
#
#     grpcurl -plaintext -d '{"model": {"id": "llama-2-7b"}, ...}' HOST:PORT ridgeline.v1.AnalysisService/Analyze
set -eu

BUF=${BUF:-buf}
SERVER=${RIDGELINE_SERVER:-127.0.0.1:50051}

# call SERVICE/METHOD JSON
call() {
    "$BUF" curl --protocol grpc --http2-prior-knowledge --data "$2" "http://$SERVER/$1"
}

echo '# Is it up?'
call grpc.health.v1.Health/Check '{}'

echo '# What does it serve?'
"$BUF" curl --protocol grpc --http2-prior-knowledge --list-methods "http://$SERVER" | grep '^ridgeline'

echo '# Where does the time go?'
call ridgeline.v1.AnalysisService/Analyze '{
    "model": {"id": "llama-2-7b"}, "hardware": {"id": "rtx-a6000"},
    "workload": {"batch": 1, "input_len": 2048, "output_len": 128}, "without_flips": true
}'

echo '# What would two models on two devices do? Each message of the stream holds Arrow record batches in base64.'
call ridgeline.v1.AnalysisService/Sweep '{
    "product": {
        "models": [{"id": "llama-2-7b"}, {"id": "llama-3.1-8b"}],
        "hardware": [{"id": "l40s"}, {"id": "h100-sxm"}],
        "loads": {"batch": [1, 8], "input_len": [1000], "output_len": [128]}
    },
    "columns": ["model_id", "hardware_id", "tpot_ms"], "batch_rows": 4
}'

echo '# What does it say of a question that is wrong? All of it at once; buf ends with an error of its own.'
if call ridgeline.v1.AnalysisService/Analyze '{
    "model": {"id": "llama-2-7b"}, "hardware": {"id": "rtx-a6000"},
    "workload": {"batch": 0, "input_len": -1, "output_len": 128}
}' 2>&1; then
    echo 'the question was answered, which it should not be' >&2
    exit 1
fi
