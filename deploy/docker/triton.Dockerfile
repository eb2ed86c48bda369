# Triton with what builds the plan: one image for both, so that the plan is built with the TensorRT that serves it.
FROM nvcr.io/nvidia/tritonserver:26.09-py3

COPY --chmod=755 deploy/docker/build_plan.sh /opt/trapstream/build_plan.sh
COPY model_repository/templates/tensorrt/config.pbtxt /opt/trapstream/config.pbtxt
RUN install -d -o 1000 -g 1000 /models

USER 1000:1000
