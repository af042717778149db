//! A state for tests, with names that would like to be commands of the terminal.

use crate::admin::status::Status;

pub(super) fn status() -> Status {
    serde_json::from_value(serde_json::json!({
        "version": "0.1.0", "now_ms": 1_790_000_000_000u64, "started_ms": 1_789_988_180_000u64,
        "state": "serving", "ready": true, "workers": 4,
        "traffic": {"requests": 182_340, "errors": 211, "client_errors": 4_012, "throttled": 1_804,
            "shadow_throttled": 77, "bytes_in": 92_000_000, "bytes_out": 4_812_000_000u64, "in_flight": 13,
            "connections": 212, "max_connections": 20_000, "tunnels": 9},
        "routes": [{"name": "query", "requests": 90_809, "errors": 4, "client_errors": 40, "throttled": 40,
            "bytes_in": 1, "bytes_out": 2, "latency": {"p50_ms": 89.04, "p95_ms": 276.2, "p99_ms": 684.9},
            "upstream_latency": {"p50_ms": 90.8, "p95_ms": 250.0, "p99_ms": 699.1},
            "queue_time": {"p50_ms": 8.1, "p95_ms": 61.0, "p99_ms": 124.2},
            "cache_hits": 9, "cache_misses": 1, "llm_tokens": 120_331},
            {"name": "(none)", "requests": 829, "errors": 0, "client_errors": 829, "throttled": 0,
            "bytes_in": 1, "bytes_out": 2, "latency": null, "upstream_latency": null, "queue_time": null,
            "cache_hits": 0, "cache_misses": 0, "llm_tokens": 0}],
        "limits": [{"name": "default", "mode": "enforce", "key": ["caller"], "per": "route",
            "measures": ["120/minute, burst 30"], "refused": 1_502, "shadow_refused": 0, "keys": 1_893,
            "fullest": [{"key": "alice", "route": "query", "remaining": 0, "most": 30, "reset_seconds": 61},
                {"key": "#3fa2c1", "remaining": 15, "most": 30, "reset_seconds": 8}]}],
        "talkers": {"requests": [{"caller": "\u{1b}[31mmallory", "kind": "user", "count": 60_321},
                {"caller": "203.0.113.9", "kind": "address", "count": 24_497}],
            "refusals": [], "bytes": [{"caller": "alice", "kind": "user", "count": 2_400_000_000u64}], "cost": []},
        "refusals": [{"time_ms": 1_789_999_990_000u64, "request_id": "0197f3c2", "caller": "alice",
            "kind": "user", "route": "query", "limit": "default", "retry_after_seconds": 24}],
        "upstream": {"address": "unix:/run/gunicorn.sock", "up": true, "connect_ms": 0.084, "idle": 7,
            "connects": 412, "connect_failures": 2, "reuses": 181_902, "repeats": 3},
        "apps": [{"name": "main", "address": "unix:/run/gunicorn.sock", "state": "up", "in_flight": 4,
                "max_in_flight": 4, "auto": false, "waiting": 9, "queue_size": 64, "requests": 181_000, "errors": 9},
            {"name": "canary", "address": "127.0.0.1:8001", "state": "down", "in_flight": 0,
                "max_in_flight": 12, "auto": true, "waiting": 0, "queue_size": 64, "requests": 902, "errors": 3}],
        "queue": {"queued": 21_900, "full": 3, "timed_out": 14, "shed": 2},
        "buffers": {"used_bytes": 3_200_000, "max_bytes": 67_108_864, "spilled_bytes": 0, "max_spilled_bytes": 0},
        "breakers": [{"route": "query", "state": "half_open"}, {"route": "rest", "state": "closed"}],
        "reloads": {"done": 2, "failed": 1, "last_ms": 1_789_999_280_000u64,
            "problems": ["`burst` must be at least 1, found `0`"]},
        "sinks": [{"name": "records", "dropped": 0}, {"name": "emf", "dropped": 12}],
        "buckets": {"held": 4_316, "most": 1_000_000, "evicted": 0},
        "lifts": [{"limit": "default", "caller": "bob", "kind": "user", "until_ms": 1_790_000_090_000u64}],
        "blocks": [{"caller": "203.0.113.77", "kind": "address", "until_ms": 1_790_000_600_000u64}],
        "process": {"resident_bytes": 23_400_000, "cpu_seconds": 412.3, "open_files": 241,
            "max_open_files": 65_536, "threads": 9}
    }))
    .unwrap()
}
