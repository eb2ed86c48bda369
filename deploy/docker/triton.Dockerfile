# Triton with what builds the plan: one image for both, so that the plan is built with the TensorRT that serves it.
FROM nvcr.io/nvidia/tritonserver:26.09-py3

WORKDIR /src
COPY constraints.txt ./
# What `trapstream model build` needs, beside the image's own Python and not in its way. TensorRT's Python API has to be
# of the very version of the libraries that are here.
RUN python3 -m pip install --no-cache-dir --target /opt/trapstream --constraint constraints.txt \
        click msgspec numpy onnx platformdirs rich structlog \
    && version=$(dpkg-query --show --showformat '${Version}\n' 'libnvinfer[0-9]*' | sed -n '1s/-.*//p') \
    && python3 -m pip install --no-cache-dir --target /opt/trapstream --no-deps "tensorrt_cu13_bindings==$version"
COPY trapstream /opt/trapstream/trapstream
COPY model_repository /opt/trapstream/model_repository
# Volumes that are mounted here first get their owner from here.
RUN install -d -o 1000 -g 1000 /models /var/lib/trapstream

USER 1000:1000
