# The edge half of edgecifar, with the shipped int8 model: docs/raspberry-pi.md says how to use it.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY edgecifar edgecifar
RUN python3 -m venv /opt/edgecifar && /opt/edgecifar/bin/pip install --no-cache-dir --no-compile .
# What no command here uses: pip, the tests of NumPy, LiteRT's GPU library, and its compilers for
# NPUs, which only the x86-64 package has.
RUN cd /opt/edgecifar/lib/python3*/site-packages \
    && rm -rf pip pip-*.dist-info \
        ai_edge_litert/libLiteRtWebGpuAccelerator.so ai_edge_litert/tools ai_edge_litert/vendors \
    && find numpy -type d -name tests -prune -exec rm -r {} +

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && find /usr/lib/python3* -type d -name __pycache__ -prune -exec rm -r {} + \
    && useradd --uid 1000 --no-create-home edgecifar
COPY --from=build /opt/edgecifar /opt/edgecifar
WORKDIR /edgecifar
COPY exported/model.tflite exported/model.tflite
# Every user can write there.
ENV EDGECIFAR_CACHE=/tmp/edgecifar
# Shows that the model runs, and compiles those modules, of all the packages, that a bench imports.
RUN /opt/edgecifar/bin/edgecifar bench exported/model.tflite --samples 100 --max-seconds 0.2 \
    && rm -r "$EDGECIFAR_CACHE"
USER edgecifar
ENTRYPOINT ["/opt/edgecifar/bin/edgecifar"]
CMD ["--help"]
