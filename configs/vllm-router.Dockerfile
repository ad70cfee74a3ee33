# vllm-router from the package index, for profile fleet-vllm of docker-compose.yml
FROM python:3.12-slim
RUN pip install --no-cache-dir vllm-router==0.1.17 && useradd --create-home router
USER router
ENTRYPOINT ["vllm-router"]
