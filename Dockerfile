# The image of one Stompbox node. `docker compose up --build` starts two of them with their engines.

FROM node:22-bookworm-slim AS node

FROM rust:1.95-bookworm AS build
# The build fetches the page's library by npm, from its lock file.
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches/ benches/
COPY migrations/ migrations/
COPY src/ src/
COPY tests/ tests/
COPY web/ web/
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
