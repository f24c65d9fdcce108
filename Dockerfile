# The image of one Stompbox node. `docker compose up --build` starts two of them with their engines.

# The page's library comes from npm by its lock file, as everywhere.
FROM node:22-bookworm-slim AS web
WORKDIR /web
COPY web/ ./
RUN npm ci --omit=dev --no-audit --no-fund

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs rustfmt.toml ./
COPY benches/ benches/
COPY migrations/ migrations/
COPY src/ src/
COPY tests/ tests/
COPY web/ web/
COPY --from=web /web/node_modules/ web/node_modules/
RUN cargo build --release --locked --bin stompbox

FROM debian:bookworm-slim
RUN groupadd --gid 10001 stompbox \
    && useradd --uid 10001 --gid stompbox --home-dir /data --shell /usr/sbin/nologin stompbox \
    && install -d -o stompbox -g stompbox -m 700 /data
COPY --from=build /src/target/release/stompbox /usr/local/bin/stompbox
USER 10001:10001
VOLUME /data
ENV SERVER_HOST=0.0.0.0 \
    SERVER_PORT=8080 \
    DATA_DIR=/data \
    APP_ENV=production \
    LOG_FORMAT=json
EXPOSE 8080
# SIGTERM drains; Compose and Kubernetes have to grant more than SHUTDOWN_TIMEOUT.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["stompbox", "health"]
ENTRYPOINT ["stompbox"]
CMD ["serve"]
